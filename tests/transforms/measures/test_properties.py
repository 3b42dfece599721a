from __future__ import annotations

from typing import Any

import pyarrow as pa

from transforms.measures.properties import image_properties

SCHEMA = pa.schema(
    [
        ("width", pa.float64()),
        ("height", pa.float64()),
        ("brightness", pa.float64()),
        ("format", pa.string()),
        ("cluster", pa.string()),
    ]
)


def _properties(*rows: tuple[Any, ...]) -> dict[str, list[str | None]]:
    table = pa.RecordBatch.from_pylist([dict(zip(SCHEMA.names, row, strict=False)) for row in rows], schema=SCHEMA)
    found = image_properties(table)
    return {
        name: [None if code < 0 else attribute.values[code] for code in attribute.codes.tolist()]
        for name, attribute in found.items()
    }


def test_properties_are_attributes() -> None:
    assert _properties(
        (100, 100, 0.1, "JPEG"), (4000, 3000, 0.75, "PNG"), (300, 500, None, "JPEG"), (None, None, 0.5, None)
    ) == {
        "image.size": ["under 0.05 megapixels", "12 megapixels and more", "0.05 to 0.25", None],
        "image.shape": ["square", "landscape", "portrait", None],
        "image.brightness": ["dark (under 25%)", "bright (75% and more)", None, "50 to 75%"],
        "image.format": ["JPEG", "PNG", "JPEG", None],
    }


def test_unknown_properties_are_no_attributes() -> None:
    assert _properties((None, None, None, None)) == {}

"""Predictions made from a seed, in the shape that heliograph score writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image_uri", pa.string()),
        ("ids", pa.list_(pa.string())),
        ("displayNames", pa.list_(pa.string())),
        ("confidences", pa.list_(pa.float32())),
        ("model_version", pa.string()),
        ("split", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("attributes", pa.map_(pa.string(), pa.string())),
        ("weight", pa.float64()),
        ("format", pa.string()),
        ("predicted", pa.list_(pa.string())),
    ]
)
NAMES = ("bee", "cat", "dog", "emu")


def row(names: Any, confidences: Any, labels: Any, **more: Any) -> dict[str, Any]:
    """One prediction row."""
    ids = None if names is None else [str(index) for index in range(len(names))]
    uri = more.pop("image_uri", "/images/x.jpg")
    return {"image_uri": uri, "ids": ids, "displayNames": names, "confidences": confidences, "labels": labels, **more}


def batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    """Rows to a record batch."""
    return pa.RecordBatch.from_pylist(list(rows), schema=SCHEMA)


def random_rows(
    number: int, seed: int = 0, names: tuple[str, ...] = NAMES, steps: int = 20
) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray]:
    """Rows with many tied confidences (multiples of 1 / steps before normalising).

    Returns:
      The rows, the scores float32[number, len(names)] in the order of names, and the label's index.
    """
    generator = np.random.default_rng(seed)
    actual = generator.integers(0, len(names), number)
    raw = generator.integers(1, steps, (number, len(names))).astype(np.float64)
    raw[np.arange(number), actual] += generator.integers(0, steps, number)
    scores = (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)
    rows = []
    for index in range(number):
        order = np.argsort(-scores[index], kind="stable")
        attributes = {"side": "left" if index % 3 else "right", "serial": f"{index % 37}"}
        if index % 5 == 0:
            attributes["rare"] = "yes"
        rows.append(
            row(
                [names[i] for i in order],
                [float(scores[index, i]) for i in order],
                [names[actual[index]]],
                image_id=f"{index:032x}",
                image_uri=f"/images/{index}.jpg",
                model_version="m/1",
                attributes=list(attributes.items()),
            )
        )
    return rows, scores, actual

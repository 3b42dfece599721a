"""Properties of an image as attributes to slice by: size, shape, brightness, format, cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.measures.batch import AttributeCodes, Bools

PROPERTY_COLUMNS = ("width", "height", "format", "brightness", "cluster")
"""What ``image_properties`` reads."""

_SIZES = (
    (0.05, "under 0.05 megapixels"),
    (0.25, "0.05 to 0.25"),
    (1.0, "0.25 to 1"),
    (4.0, "1 to 4"),
    (12.0, "4 to 12"),
)
_LARGEST = "12 megapixels and more"
_LIGHTS = ((0.25, "dark (under 25%)"), (0.5, "25 to 50%"), (0.75, "50 to 75%"))
_BRIGHTEST = "bright (75% and more)"
_SHAPES = ("landscape", "portrait", "square")


def image_properties(table: pa.RecordBatch) -> dict[str, AttributeCodes]:
    """Returns the properties by name, for the rows that have them; bins are fixed, so that they are the same anywhere.

    Args:
      table: with ``width``, ``height`` (pixels), ``brightness`` (mean, 0 to 1), ``format`` and
        ``cluster``, null where unknown.
    """
    found: dict[str, AttributeCodes] = {}
    width, height = _numbers(table.column("width")), _numbers(table.column("height"))
    known = np.isfinite(width) & np.isfinite(height)
    if known.any():
        found["image.size"] = _binned(width * height / 1e6, known, _SIZES, _LARGEST)
        shape = np.where(width > height, 0, np.where(width < height, 1, 2))
        found["image.shape"] = _coded(shape, known, _SHAPES)
    light = _numbers(table.column("brightness"))
    if np.isfinite(light).any():
        found["image.brightness"] = _binned(light, np.isfinite(light), _LIGHTS, _BRIGHTEST)
    for name, column in (("image.format", "format"), ("cluster", "cluster")):
        kinds = table.column(column).dictionary_encode()
        if kinds.null_count < len(kinds):
            codes = pc.fill_null(kinds.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
            found[name] = _coded(np.maximum(codes, 0), codes >= 0, tuple(kinds.dictionary.to_pylist()))
    return found


def _binned(
    values: npt.NDArray[np.float64], known: Bools, edges: tuple[tuple[float, str], ...], last: str
) -> AttributeCodes:
    code = np.searchsorted([edge for edge, _ in edges], values, side="right")
    return _coded(code, known, (*(name for _, name in edges), last))


def _coded(code: npt.NDArray[Any], known: Bools, names: tuple[str, ...]) -> AttributeCodes:
    """Only the values that occur, sorted."""
    present = sorted({names[index] for index in np.unique(code[known]).tolist()})
    place = np.array([present.index(name) if name in present else -1 for name in names], np.int64)
    return AttributeCodes(values=tuple(present), codes=np.where(known, place[code], -1))


def _numbers(column: pa.Array) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return values

"""metrics.json as a table in long form, a row a figure, for plotting elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("attribute", pa.string(), metadata={"description": "that is sliced by; null for all rows"}),
        pa.field("value", pa.string(), metadata={"description": "of the attribute"}),
        pa.field("class", pa.string(), metadata={"description": "against the rest; null for all classes"}),
        pa.field("threshold", pa.float64(), metadata={"description": "null where none matters"}),
        pa.field("figure", pa.string()),
        pa.field("number", pa.float64(), metadata={"description": "null when undefined"}),
        pa.field("lower", pa.float64(), metadata={"description": "of the interval of 95 %"}),
        pa.field("upper", pa.float64()),
        pa.field("error", pa.float64(), metadata={"description": "by how much number may be off at most"}),
    ]
)
_Group = tuple[str | None, str | None]
_Row = dict[str, Any]


def long_table(metrics: Mapping[str, Any]) -> pa.Table:
    """Returns every figure of overall, classes, slices, fairness and curves of metrics.json."""
    return pa.Table.from_pylist(list(_rows(metrics)), schema=SCHEMA)


def _rows(metrics: Mapping[str, Any]) -> Iterator[_Row]:
    everything: _Group = (None, None)
    yield from _figures(everything, metrics["overall"])
    for entry in metrics["classes"]:
        yield from _class(everything, entry)
    for entry in metrics["fairness"]["classes"]:
        yield from _compared(everything, entry)
    for attribute, slices in metrics["slices"].items():
        for part in slices:
            group = (attribute, part["value"])
            yield from _figures(group, part)
            for entry in part["classes"]:
                yield from _class(group, entry)
            for entry in part["fairness"]:
                yield from _compared(group, entry)
    curves = metrics["curves"]
    for entry in curves["classes"]:
        for name in ("true_positives", "false_positives"):
            for threshold, number in zip(curves["thresholds"], entry[name], strict=True):
                yield _row(everything, entry["name"], f"curve_{name}", number, threshold=threshold)


def _figures(group: _Group, figures: Mapping[str, Any]) -> Iterator[_Row]:
    for name, number in figures.items():
        if isinstance(number, int | float | None) and not isinstance(number, bool) and name != "majority_class":
            yield _row(group, None, name, number, interval=figures.get(f"{name}_interval"))
    nested = {"macro": figures["macro"], "top_k_accuracy": figures["top_k_accuracy"]}
    sets = dict(figures.get("label_sets", {}))
    nested |= {"micro": sets.pop("micro", {}), "label_sets": sets}
    for name, entries in nested.items():
        for key, number in entries.items():
            yield _row(group, None, f"{name}_{key}", number)


def _class(group: _Group, entry: Mapping[str, Any]) -> Iterator[_Row]:
    for name, number in entry.items():
        if name not in ("name", "known") and not name.endswith("_auc_error") and not name.endswith("precision_error"):
            yield _row(group, entry["name"], name, number, error=entry.get(f"{name}_error"))


def _compared(group: _Group, entry: Mapping[str, Any]) -> Iterator[_Row]:
    for name, figure in entry.items():
        if isinstance(figure, dict):
            yield _row(group, entry["name"], name, figure["value"], figure["interval"], figure["error"])
    for cell in entry["thresholds"]:
        for name, figure in cell.items():
            if not isinstance(figure, dict):
                if name != "threshold":
                    yield _row(group, entry["name"], name, figure, threshold=cell["threshold"])
                continue
            for key, ends in (("value", "interval"), ("gap", "gap_interval")):
                if key in figure:
                    label = name if key == "value" else f"{name}_gap"
                    yield _row(group, entry["name"], label, figure[key], figure[ends], threshold=cell["threshold"])


def _row(
    group: _Group,
    name: str | None,
    figure: str,
    number: float | None,
    interval: Any = None,
    error: float | None = None,
    threshold: float | None = None,
) -> _Row:
    lower, upper = interval or (None, None)
    return {
        "attribute": group[0],
        "value": group[1],
        "class": name,
        "threshold": threshold,
        "figure": figure,
        "number": number,
        "lower": lower,
        "upper": upper,
        "error": error,
    }

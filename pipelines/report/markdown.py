"""metrics.json as a short text in Markdown, for pull requests and e-mails."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.report.assets import number
from pipelines.report.verdict import (
    calibration_verdict,
    comparison_verdict,
    largest_gaps,
    percent,
    verdict,
    weak_spots,
)

CLASSES, SLICES, GAPS = 20, 30, 10
"""Lines of each table at most."""


def summary(metrics: Mapping[str, Any], command: str) -> str:
    """Returns the verdict, the weak spots, the confidences, the classes, the slices, the largest gaps and the warnings.

    Args:
      metrics: as metrics.schema.json describes them.
      command: that makes them again.
    """
    parts = [
        [f"## {_text(verdict(metrics['overall']))}"],
        [f"- {_text(sentence)}" for sentence in (*weak_spots(metrics), calibration_verdict(metrics)) if sentence],
        _comparison(metrics["comparison"]),
        _classes(metrics["classes"]),
        _slices(metrics["slices"], metrics["minimum_slice"]),
        _gaps(metrics),
        [f"> {_text(sentence)}" for sentence in metrics["warnings"]],
        ["```", command.replace("```", ""), "```"],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _comparison(comparison: Mapping[str, Any] | None) -> list[str]:
    return [_text(comparison_verdict(comparison))] if comparison else []


def _classes(classes: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            entry["name"],
            f"{entry['support']:,}",
            percent(entry["recall"]),
            percent(entry["precision"]),
            number(entry["f1"]),
            number(entry["roc_auc"]),
            number(entry["average_precision"]),
        )
        for entry in classes[:CLASSES]
    ]
    return _table(("class", "rows", "recall", "precision", "F1", "ROC AUC", "average precision"), rows, len(classes))


def _slices(slices: Mapping[str, Sequence[Mapping[str, Any]]], minimum: int) -> list[str]:
    every = [(name, entry) for name, entries in slices.items() for entry in entries]
    rows = [
        (
            f"{name} = {entry['value']}" + (f" (under {minimum})" if entry["small"] else ""),
            f"{entry['rows']:,}",
            percent(entry["accuracy"]),
            f"{percent(entry['accuracy_interval'][0])} to {percent(entry['accuracy_interval'][1])}",
            number(entry["macro"]["f1"]),
        )
        for name, entry in every[:SLICES]
    ]
    return _table(("slice", "rows", "accuracy", "95% interval", "macro F1"), rows, len(every))


def _gaps(metrics: Mapping[str, Any]) -> list[str]:
    found = largest_gaps(metrics)
    rows = [
        (
            f"{name} = {value}",
            compared["name"],
            f"{compared['negatives']:,} / {compared['positives']:,}",
            percent(rate["value"]),
            f"+{percent(gap)} ({percent(rate['gap_interval'][0])} to {percent(rate['gap_interval'][1])})",
            number(compared["bpsn_auc"]["value"]),
        )
        for gap, name, value, compared, rate in found[:GAPS]
    ]
    heads = ("slice", "class", "negatives / positives", "false positive rate", "above the rest by", "BPSN AUC")
    return _table(heads, rows, len(found))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], there: int) -> list[str]:
    if not rows:
        return []
    more = [f"\nThe first {len(rows)} of {there:,}; metrics.json has them all."] if there > len(rows) else []
    return [_line(heads), _line(["---", *["---:"] * (len(heads) - 1)]), *map(_line, rows), *more]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_text, cells))} |" if cells else ""


def _text(value: str) -> str:
    """Escapes what Markdown or HTML would take for markup; labels come from strangers."""
    flat = " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|~@#])", r"\\\1", flat)

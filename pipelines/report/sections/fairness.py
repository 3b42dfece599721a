"""Slices against the rest, one class against the others: rates, gaps and areas under the curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.assets import number, signed, signed_interval
from pipelines.report.page import Section
from pipelines.report.sections.slices import ROWS, compared_classes, of_class
from pipelines.report.verdict import THRESHOLD, percent, rate_at

_AREAS = ("subgroup_auc", "bpsn_auc", "bnsp_auc", "negative_aeg", "positive_aeg")


def fairness(metrics: Mapping[str, Any]) -> Section | None:
    """Returns the section, from ``slices`` of metrics.schema.json; None when no class is compared."""
    rows, names = [], compared_classes(metrics)
    for name in names:
        for attribute, entries in metrics["slices"].items():
            for part in entries:
                compared = of_class(part["fairness"], name)
                if compared:
                    row = _row(f"{attribute} = {part['value']}", compared, part["small"], len(names) > 1)
                    rows.append((_size(compared), row))
    rows.sort(key=lambda row: -row[0])
    if not rows:
        return None
    return Section(
        id="fairness",
        title="Whether slices are treated alike",
        short="Fairness",
        template="fairness",
        data={
            "rows": [row for _, row in rows[:ROWS]],
            "total": len(rows),
            "names": names,
            "threshold": THRESHOLD,
        },
    )


def _size(compared: Mapping[str, Any]) -> float:
    gap = rate_at(compared, "false_positive_rate").get("gap")
    return -1.0 if gap is None else abs(float(gap))


def _row(name: str, compared: Mapping[str, Any], small: bool, several: bool) -> list[Any]:
    cells: list[Any] = [
        name + (" (small)" if small else ""),
        *([compared["name"]] if several else []),
        *((f"{compared[side]:,}", compared[side]) for side in ("positives", "negatives")),
    ]
    for rate in ("false_positive_rate", "false_negative_rate"):
        found = rate_at(compared, rate)
        gap = found.get("gap")
        cells += [(percent(found["value"]), found["value"]), (_gap(found), gap)]
    for area in _AREAS:
        cells.append((number(compared[area]["value"]), compared[area]["value"]))
    return cells


def _gap(rate: Mapping[str, Any]) -> str:
    if rate.get("gap") is None:
        return "–"
    return f"{signed(rate['gap'])} ({signed_interval(rate['gap_interval'])})"

"""Class by class: the figures of each against the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.assets import number
from pipelines.report.page import Section
from pipelines.report.verdict import percent

ROWS = 200


def classes(metrics: Mapping[str, Any]) -> Section:
    """Returns the section, from ``classes`` of metrics.schema.json."""
    every = metrics["classes"]
    rows = [
        [
            entry["name"] + ("" if entry["known"] else " (never named)"),
            (f"{entry['support']:,}", entry["support"]),
            (f"{entry['predicted']:,}", entry["predicted"]),
            *((percent(entry[name]), entry[name]) for name in ("recall", "precision")),
            (number(entry["f1"]), entry["f1"]),
            *((_area(entry, name), entry[name]) for name in ("roc_auc", "average_precision")),
            (percent(entry["expected_calibration_error"]), entry["expected_calibration_error"]),
        ]
        for entry in every[:ROWS]
    ]
    return Section(
        id="classes",
        title="Class by class",
        short="Classes",
        template="classes",
        data={"rows": rows, "total": len(every)},
    )


def _area(entry: Mapping[str, Any], name: str) -> str:
    error = entry[f"{name}_error"]
    return number(entry[name]) + (f" ± {number(error)}" if error and error >= 0.0005 else "")

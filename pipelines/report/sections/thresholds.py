"""A slider: what follows when a class is called at another threshold of its confidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.charts import LEGEND, layout
from pipelines.report.page import Section

START = 0.5

CLASSES = 50
"""Classes that can be chosen at most."""

_RATES = (
    ("true_positive_rate", "Recall", "of the class are found"),
    ("precision", "Precision", "of those called so are right"),
    ("false_positive_rate", "False positive rate", "of the others are called so"),
    ("false_negative_rate", "False negative rate", "of the class are missed"),
    ("false_discovery_rate", "False discovery rate", "of those called so are wrong"),
    ("positive_rate", "Positive rate", "of all are called so"),
)
_LINES = {"true_positive_rate": "--series-3", "precision": "--series-1", "false_positive_rate": "--series-6"}


def thresholds(metrics: Mapping[str, Any]) -> Section | None:
    """Returns the section, from ``curves`` of metrics.schema.json; None when no class has any rows."""
    known, curves = metrics["curves"]["thresholds"], metrics["curves"]["classes"]
    found = [entry for entry in curves if entry["positives"]][:CLASSES]
    if not found:
        return None
    found.sort(key=lambda entry: entry["positives"] > entry["negatives"])  # of two, the rarer one is asked about
    start = min(range(len(known)), key=lambda place: abs(known[place] - START))
    names = {name: title for name, title, _ in _RATES}
    lines = [
        {"type": "scatter", "mode": "lines", "name": names[rate], "meta": rate, "line": {"color": colour, "width": 2.5}}
        for rate, colour in _LINES.items()
    ]
    axes = {
        "xaxis": {"range": [0, 1], "tickformat": ".2f", "title": {"text": "threshold"}},
        "yaxis": {"range": [0, 1.02], "tickformat": ".0%"},
    }
    mark = {"type": "line", "x0": START, "x1": START, "yref": "paper", "y0": 0, "y1": 1}
    mark["line"] = {"color": "--text", "width": 2}
    style = layout(height=320, legend=LEGEND, showlegend=True, shapes=[mark], **axes)
    return Section(
        id="thresholds",
        title="Choose a threshold",
        short="Threshold",
        template="thresholds",
        data={"curves": {"thresholds": known, "classes": found}, "start": start, "rates": _RATES},
        charts={"rates": {"data": lines, "layout": style}},
    )

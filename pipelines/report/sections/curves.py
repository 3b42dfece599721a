"""ROC and precision–recall curves of each class against the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.assets import number
from pipelines.report.charts import LEGEND, SERIES, layout, literal
from pipelines.report.page import Section

LINES = 8
"""Curves in a chart at most: the classes that are hardest to rank."""


def curves(metrics: Mapping[str, Any]) -> Section | None:
    """Returns the section, from ``curves`` of metrics.schema.json; None when no class has both sides."""
    areas = {entry["name"]: entry for entry in metrics["classes"]}
    found = [entry for entry in metrics["curves"]["classes"] if entry["positives"] and entry["negatives"]]
    if not found:
        return None
    shown = sorted(found, key=lambda entry: (areas[entry["name"]]["average_precision"] or 0, entry["name"]))[:LINES]
    return Section(
        id="curves",
        title="What each threshold would trade",
        short="Curves",
        template="curves",
        data={"shown": len(shown), "total": len(metrics["curves"]["classes"])},
        charts={
            "precision": _chart("recall", "precision", [_precision_recall(entry, areas) for entry in shown]),
            "roc": _chart("false positive rate", "true positive rate", [_roc(entry, areas) for entry in shown]),
        },
    )


def _roc(entry: Mapping[str, Any], areas: Mapping[str, Any]) -> dict[str, Any]:
    x = [1.0, *(count / entry["negatives"] for count in entry["false_positives"]), 0.0]
    y = [1.0, *(count / entry["positives"] for count in entry["true_positives"]), 0.0]
    return {"name": f"{entry['name']} (AUC {number(areas[entry['name']]['roc_auc'])})", "x": x, "y": y}


def _precision_recall(entry: Mapping[str, Any], areas: Mapping[str, Any]) -> dict[str, Any]:
    pairs = zip(entry["true_positives"], entry["false_positives"], strict=True)
    points = [(hit / entry["positives"], hit / (hit + alarm)) for hit, alarm in pairs if hit + alarm]
    name = f"{entry['name']} (average {number(areas[entry['name']]['average_precision'])})"
    return {"name": name, "x": [x for x, _ in points], "y": [y for _, y in points]}


def _chart(across: str, up: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    data = [
        {
            **line,
            "type": "scatter",
            "mode": "lines",
            "name": literal(line["name"]),
            "line": {"color": SERIES[place % len(SERIES)], "width": 2.5},
            "hovertemplate": f"{across} %{{x:.1%}}<br>{up} %{{y:.1%}}<extra>{literal(line['name'])}</extra>",
        }
        for place, line in enumerate(lines)
    ]
    axes = {
        "xaxis": {"range": [-0.01, 1.01], "tickformat": ".0%", "title": {"text": across}},
        "yaxis": {"range": [-0.01, 1.02], "tickformat": ".0%", "title": {"text": up}},
    }
    return {"data": data, "layout": layout(height=380 + 18 * len(lines), legend=LEGEND, showlegend=True, **axes)}

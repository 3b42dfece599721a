"""Learning curves: what the head would be with fewer labels, and so what more of them may buy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.assets import signed, signed_interval
from pipelines.report.charts import layout
from pipelines.report.page import Section
from pipelines.report.verdict import percent

CLASSES = 20
"""Classes in the table at most, those first that gained most."""


def learning_curves(curve: Mapping[str, Any] | None) -> Section | None:
    """Returns the section, from ``learning_curve`` of a model's metrics.json; None without."""
    if not curve:
        return None
    gains = sorted((entry for entry in curve["classes"] if entry["gain"] is not None), key=lambda e: -e["gain"])
    points = [
        [
            f"{point['share']:.0%}",
            (f"{point['images']:,}", point["images"]),
            (percent(point["accuracy"]), point["accuracy"]),
            " to ".join(map(percent, point["interval"])),
        ]
        for point in curve["points"]
    ]
    rows = [
        [
            entry["name"],
            (f"{entry['images']:,}", entry["images"]),
            (signed(entry["gain"]), entry["gain"]),
            signed_interval(entry["interval"]),
        ]
        for entry in gains[:CLASSES]
    ]
    return Section(
        id="learning-curve",
        title="What more labels may buy",
        short="Learning curve",
        template="learning_curve",
        data={"points": points, "gains": rows, "split": curve["split"], "images": curve["images"]},
        charts={"accuracy": _chart(curve["points"])},
    )


def _chart(points: list[Mapping[str, Any]]) -> dict[str, Any]:
    errors = {
        "type": "data",
        "symmetric": False,
        "array": [point["interval"][1] - point["accuracy"] for point in points],
        "arrayminus": [point["accuracy"] - point["interval"][0] for point in points],
    }
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [point["images"] for point in points],
        "y": [point["accuracy"] for point in points],
        "error_y": errors,
        "line": {"color": "--accent"},
        "hovertemplate": "%{x:,} images: %{y:.1%}<extra></extra>",
    }
    axes = {
        "xaxis": {"title": {"text": "training images"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "accuracy"}, "tickformat": ".2~%"},
    }
    return {"data": [line], "layout": layout(320, showlegend=False, **axes)}

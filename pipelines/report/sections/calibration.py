"""Whether confidence can be believed: the reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.charts import bars, layout
from pipelines.report.page import Section
from pipelines.report.verdict import calibration_verdict, percent


def calibration(metrics: Mapping[str, Any]) -> Section:
    """Returns the section, from ``calibration`` of metrics.schema.json."""
    filled = [entry for entry in metrics["calibration"] if entry["rows"]]
    rows = [
        [
            f"{percent(entry['lower'])} to {percent(entry['upper'])}",
            (f"{entry['rows']:,}", entry["rows"]),
            (percent(entry["confidence"]), entry["confidence"]),
            (percent(entry["accuracy"]), entry["accuracy"]),
        ]
        for entry in filled
    ]
    return Section(
        id="calibration",
        title="Whether confidence can be believed",
        short="Calibration",
        template="calibration",
        data={"verdict": calibration_verdict(metrics), "rows": rows},
        charts={"reliability": reliability_diagram(filled)} if filled else {},
        half=True,
    )


def reliability_diagram(filled: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the figure: accuracy in each bin that has rows, beside the diagonal of perfect calibration."""
    perfect = {
        "type": "scatter",
        "mode": "lines",
        "name": "perfect calibration",
        "x": [0, 1],
        "y": [0, 1],
        "line": {"color": "--muted", "dash": "dash", "width": 1.5},
        "hoverinfo": "skip",
    }
    axes = {
        "xaxis": {"range": [0, 1], "dtick": 0.2, "tickformat": ".0%", "title": {"text": "confidence"}, "anchor": "y2"},
        "yaxis": {"range": [0, 1.02], "domain": [0.28, 1], "tickformat": ".0%", "title": {"text": "accuracy"}},
        "yaxis2": {
            "domain": [0, 0.2],
            "tickformat": ".0%",
            "title": {"text": "share"},
            "nticks": 3,
            "rangemode": "tozero",
        },
    }
    return {
        "data": [_accuracy(filled), perfect, _shares(filled)],
        "layout": layout(height=420, bargap=0, showlegend=False, **axes),
    }


def _accuracy(filled: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        **_in_bins(filled, "accuracy", "--accent"),
        "y": [entry["accuracy"] for entry in filled],
        "customdata": [
            [f"{entry['lower']:.0%} to {entry['upper']:.0%}", entry["confidence"], entry["rows"]] for entry in filled
        ],
        "hovertemplate": "confidence %{customdata[0]}<br>%{customdata[2]:,} predictions<br>"
        "mean confidence %{customdata[1]:.1%}<br><b>%{y:.1%} right</b><extra></extra>",
    }


def _shares(filled: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    total = sum(entry["rows"] for entry in filled)
    return {
        **_in_bins(filled, "share of predictions", "--soft"),
        "y": [entry["rows"] / total for entry in filled],
        "yaxis": "y2",
        "hovertemplate": "%{y:.1%} of the predictions<extra></extra>",
    }


def _in_bins(filled: Sequence[Mapping[str, Any]], name: str, colour: str) -> dict[str, Any]:
    centres = [(entry["lower"] + entry["upper"]) / 2 for entry in filled]
    widths = [0.92 * (entry["upper"] - entry["lower"]) for entry in filled]
    return bars(name, centres, widths, colour)

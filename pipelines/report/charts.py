"""Charts of a page: figures for Plotly, which is bundled, as plain data."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any


@functools.cache
def library() -> str:
    """Returns plotly.js, from the installed package."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("\r", "")  # an HTML parser would drop it, and the page's hash would not fit


def style_ids() -> list[str]:
    """Returns the ids under which the library would add styles for maps, which the page's policy refuses.

    It leaves that out when something has the id already.
    """
    return sorted(set(re.findall(r'getElementById\("([0-9a-f]{32,})"\)', library())))


def reliability_diagram(bins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the figure: accuracy in each bin of confidence, beside the diagonal of perfect calibration.

    Colours are names of custom properties of the page's style; page.js puts their values in.

    Args:
      bins: as transforms.measures.calibration gives them.
    """
    filled = [entry for entry in bins if entry["rows"]]
    perfect = {
        "type": "scatter",
        "mode": "lines",
        "name": "perfect calibration",
        "x": [0, 1],
        "y": [0, 1],
        "line": {"color": "--muted", "dash": "dash", "width": 1.5},
        "hoverinfo": "skip",
    }
    return {"data": [_accuracy_bars(filled), perfect, _share_bars(filled)], "layout": _reliability_layout()}


def _accuracy_bars(filled: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        **_bars(filled, "accuracy", "--accent"),
        "y": [entry["accuracy"] for entry in filled],
        "customdata": [
            [f"{entry['lower']:.0%} to {entry['upper']:.0%}", entry["confidence"], entry["rows"]] for entry in filled
        ],
        "hovertemplate": "confidence %{customdata[0]}<br>%{customdata[2]:,} predictions<br>"
        "mean confidence %{customdata[1]:.1%}<br><b>%{y:.1%} right</b><extra></extra>",
    }


def _share_bars(filled: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    total = sum(entry["rows"] for entry in filled)
    return {
        **_bars(filled, "share of predictions", "--soft"),
        "y": [entry["rows"] / total for entry in filled],
        "yaxis": "y2",
        "hovertemplate": "%{y:.1%} of the predictions<extra></extra>",
    }


def _bars(filled: Sequence[Mapping[str, Any]], name: str, colour: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": name,
        "x": [(entry["lower"] + entry["upper"]) / 2 for entry in filled],
        "width": [0.92 * (entry["upper"] - entry["lower"]) for entry in filled],
        "marker": {"color": colour},
    }


def _reliability_layout() -> dict[str, Any]:
    return {
        "height": 420,
        "margin": {"l": 60, "r": 20, "t": 8, "b": 48},
        "showlegend": False,
        "bargap": 0,
        "xaxis": {
            "range": [0, 1],
            "dtick": 0.2,
            "tickformat": ".0%",
            "title": {"text": "confidence"},
            "anchor": "y2",
            "fixedrange": True,
        },
        "yaxis": {
            "range": [0, 1.02],
            "domain": [0.28, 1],
            "tickformat": ".0%",
            "title": {"text": "accuracy"},
            "fixedrange": True,
        },
        "yaxis2": {
            "domain": [0, 0.2],
            "tickformat": ".0%",
            "title": {"text": "share"},
            "nticks": 3,
            "rangemode": "tozero",
            "fixedrange": True,
        },
    }

"""Charts of a page: the library, Plotly, that is put into it, and the parts that its figures share, as plain data.

Colours are names of custom properties of page.css, as ``--accent``; page.js puts their values in, and lays its theme
over every figure; ``layout.meta.narrow`` is what the y axis has besides on a phone. Texts that come from data go
through ``literal``, since the library takes them for markup.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

_NAME = 30  # letters of a tick

_Point = tuple[str, float | None, Sequence[float | None]]

SERIES = tuple(f"--series-{number}" for number in range(1, 9))
"""Colours of lines that are told apart; after the last the first comes again."""


LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}


@functools.cache
def library() -> str:
    """Returns plotly.js, from the installed package."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("\r", "")  # an HTML parser would drop it, and the page's hash would not fit


@functools.cache
def style_ids() -> list[str]:
    """Returns the ids under which the library would add styles for maps, which the page's policy refuses.

    It leaves that out when something has the id already.
    """
    return sorted(set(re.findall(r'getElementById\("([0-9a-f]{32,})"\)', library())))


def literal(text: str) -> str:
    """Returns a text that the library shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def bars(name: str, places: Sequence[float], widths: Sequence[float], colour: str) -> dict[str, Any]:
    """Returns bars without their heights."""
    return {"type": "bar", "name": name, "x": list(places), "width": list(widths), "marker": {"color": colour}}


def layout(height: int, **more: Any) -> dict[str, Any]:
    """Returns a layout of ``height`` pixels whose axes stay as they are; ``more`` are fields of Plotly's."""
    axes = {name: {"fixedrange": True, **value} for name, value in more.items() if re.match(r"[xy]axis", name)}
    return {"height": height, "margin": {"l": 60, "r": 20, "t": 8, "b": 48}, **more, **axes}


def counted(title: str, last: int) -> dict[str, Any]:
    """Returns an axis of whole numbers up to ``last``, without ticks between them."""
    return {"title": {"text": title}, "dtick": max(1, round(last / 8))}


def interval_chart(
    points: Sequence[_Point],
    line: float | None,
    line_name: str,
    tick_format: str,
) -> dict[str, Any]:
    """Returns a forest plot: a dot with its interval for each name, the first at the top, and a dashed line.

    Args:
      points: name, value and ends of the interval; what is undefined is left out.
      line: value that the others are compared with.
      line_name: what it is of.
      tick_format: of the numbers, as d3 writes it.
    """
    names = [literal(name if len(name) <= _NAME else name[: _NAME - 1] + "…") for name, _, _ in points]
    axis = {
        "tickvals": [-place for place in range(len(points))],
        "ticktext": names,
        "range": [0.6 - len(points), 0.6],
        "automargin": True,
        "zeroline": False,
    }
    dashed = {"color": "--muted", "dash": "dash", "width": 1.5}
    shapes = [{"type": "line", "x0": line, "x1": line, "yref": "paper", "y0": 0, "y1": 1, "line": dashed}]
    notes = [{"x": line, "y": 1, "yref": "paper", "yanchor": "bottom", "text": line_name, "showarrow": False}]
    return {
        "data": [_dots(points, tick_format)],
        "layout": layout(
            height=90 + 28 * len(points),
            margin={"l": 8, "r": 20, "t": 28, "b": 36},
            showlegend=False,
            xaxis={"zeroline": False, "nticks": 6, "tickformat": tick_format, "range": _range(points, line)},
            yaxis=axis,
            meta={"narrow": {"ticklabelposition": "inside top", "automargin": False}},
            **({} if line is None else {"shapes": shapes, "annotations": notes}),
        ),
    }


def _dots(points: Sequence[_Point], tick_format: str) -> dict[str, Any]:
    exact = ".3f" if tick_format.endswith("f") else ".1%"
    values = [value for _, value, _ in points]
    ends = [pair if None not in pair else (value, value) for _, value, pair in points]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": values,
        "y": [-place for place in range(len(points))],
        "text": [literal(name) for name, _, _ in points],
        "customdata": [list(pair) for pair in ends],
        "hovertemplate": f"<b>%{{text}}</b><br>%{{x:{exact}}} "
        f"(%{{customdata[0]:{exact}}} to %{{customdata[1]:{exact}}})<extra></extra>",
        "marker": {"color": "--text", "size": 8},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [_distance(pair[1], value) for value, pair in zip(values, ends, strict=True)],
            "arrayminus": [_distance(value, pair[0]) for value, pair in zip(values, ends, strict=True)],
            "color": "--accent",
            "thickness": 3,
            "width": 0,
        },
    }


def _range(points: Sequence[_Point], line: float | None) -> list[float]:
    found = [number for _, value, ends in points for number in (value, *ends, line) if number is not None]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    room = max(0.05 * (high - low), 0.005)
    return [low - room, high + room]


def _distance(upper: float | None, lower: float | None) -> float | None:
    return None if upper is None or lower is None else max(upper - lower, 0.0)

"""A map of the embeddings: images that are alike lie together; coloured by what is known of them."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.report.charts import SERIES, layout, literal
from pipelines.report.page import Section
from pipelines.report.projection import POINTS, project, spread_out

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")
_OTHER, _NONE = "all others", "none"


def embedding_map(
    vectors: npt.NDArray[np.float32],
    uris: Sequence[str],
    colours: Mapping[str, Sequence[str]],
    total: int,
    pictures: int,
) -> Section | None:
    """Returns the section; None for a handful of vectors.

    Args:
      vectors: ``float32[N, D]``, in any order; the first POINTS are shown.
      uris: of their images.
      colours: what they can be coloured by: a value for each, by its name, the first of them at first.
      total: images that there are.
      pictures: points that have a thumbnail, spread over the map.
    """
    places = project(vectors[:POINTS])
    if places is None:
        return None
    order = np.lexsort((places[:, 0], np.array(next(iter(colours.values()))[: len(places)], object).astype(str)))
    places, shown = places[order], [uris[row] for row in order]
    values = {name: [column[row] or _NONE for row in order] for name, column in colours.items()}
    points = [
        {"uri": uri, "text": ", ".join(f"{name} {values[name][row]}" for name in values), "x": x, "y": y}
        for row, (uri, (x, y)) in enumerate(zip(shown, np.round(places.astype(float), 4).tolist(), strict=True))
    ]
    return Section(
        id="map",
        title="A map of the embeddings",
        short="Map",
        template="embedding_map",
        data={"points": points, "options": list(enumerate(values)), "total": total},
        charts={f"by-{place}": _scatter(points, column) for place, column in enumerate(values.values())},
        images=[shown[row] for row in spread_out(places, pictures)],
    )


def _scatter(points: Sequence[Mapping[str, Any]], values: Sequence[str]) -> dict[str, Any]:
    """Points coloured and shaped by value; the last trace is the ring around the one that is looked at."""
    frequent = [value for value, _ in collections.Counter(values).most_common()]
    named = frequent if len(frequent) <= len(SERIES) else frequent[: len(SERIES) - 1]
    groups: dict[str, list[int]] = {value: [] for value in [*named, *([_OTHER] if len(named) < len(frequent) else [])]}
    for row, value in enumerate(values):
        groups[value if value in groups else _OTHER].append(row)
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{literal(value)} ({len(rows):,})",
            "x": [points[row]["x"] for row in rows],
            "y": [points[row]["y"] for row in rows],
            "customdata": rows,
            "hoverinfo": "none",
            "marker": {
                "color": SERIES[place] if value != _OTHER else "--muted",
                "symbol": _SYMBOLS[place % len(_SYMBOLS)],
                "size": 7,
                "opacity": 0.75,
            },
        }
        for place, (value, rows) in enumerate(groups.items())
    ]
    ring = {"size": 16, "color": "rgba(0,0,0,0)", "line": {"color": "--text", "width": 2.5}}
    chosen = {"type": "scatter", "mode": "markers", "x": [], "y": [], "showlegend": False, "hoverinfo": "skip"}
    axis = {"visible": False, "range": [-0.03, 1.03]}
    legend = {"orientation": "h", "y": -0.02, "yanchor": "top"}
    figure = layout(520, xaxis=axis, yaxis=axis, legend=legend, hovermode="closest", dragmode=False)
    figure["margin"] = {"l": 0, "r": 0, "t": 0, "b": 0}
    return {"data": [*traces, {**chosen, "marker": ring}], "layout": figure}

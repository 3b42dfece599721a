"""A sweep: the configurations of the head that were tried, and which was chosen."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.charts import counted, layout, literal
from pipelines.report.page import Section

TRIALS = 60
"""Trials on the page at most, the best ones."""

_LOOKS = {"": "--soft", "best": "--series-2", "chosen": "--accent", "best, chosen": "--accent"}


def sweep(found: Mapping[str, Any] | None, table: bytes | None) -> Section | None:
    """Returns the section; None without a sweep.

    Args:
      found: ``sweep`` of a model's metrics.json.
      table: sweep.csv, every trial, best first.
    """
    if not found or not table:
        return None
    trials = list(csv.DictReader(io.StringIO(table.decode())))
    measure = next(name for name in trials[0] if name in ("loss", "accuracy", "balanced_accuracy", "balanced-accuracy"))
    columns = [name for name in trials[0] if name != "pick"]
    rows = [[_cell(trial[name]) for name in columns] + [trial["pick"]] for trial in trials[:TRIALS]]
    return Section(
        id="sweep",
        title="Which settings were tried",
        short="Sweep",
        template="sweep",
        data={
            "columns": [(name.replace("_", " "), "text" if name == "rank" else "") for name in columns]
            + [("pick", "text")],
            "rows": rows,
            "total": len(trials),
            "measure": measure.replace("_", " "),
            "held": f"{found['folds']} folds of the training split" if found["folds"] else "the validation split",
        },
        charts={"trials": _chart(trials[:TRIALS], measure, columns)},
    )


def _chart(trials: Sequence[Mapping[str, str]], measure: str, columns: Sequence[str]) -> dict[str, Any]:
    settings = [name for name in columns if name not in ("rank", measure, "standard_error", "epochs")]
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": [int(trial["rank"]) for trial in trials],
        "y": [_finite(trial[measure]) for trial in trials],
        "error_y": {
            "type": "data",
            "array": [_finite(trial["standard_error"]) for trial in trials],
            "color": "--muted",
        },
        "marker": {"size": 9, "color": [_LOOKS.get(trial["pick"], "--accent") for trial in trials]},
        "text": [
            "<br>".join(
                literal(f"{name.replace('_', ' ')} {trial[name]}") for name in (*settings, "pick") if trial[name]
            )
            for trial in trials
        ],
        "hovertemplate": "%{text}<br><b>%{y:.4f}</b><extra></extra>",
    }
    axes = {"xaxis": counted("rank", len(trials)), "yaxis": {"title": {"text": measure.replace("_", " ")}}}
    return {"data": [points], "layout": layout(300, showlegend=False, **axes)}


def _finite(text: str) -> float | None:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def _cell(text: str) -> Any:
    try:
        value = float(text)
    except ValueError:
        return text
    return (f"{value:.4g}", value if math.isfinite(value) else None)

"""How a network was trained: loss and accuracy of training and validation by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.assets import number
from pipelines.report.charts import LEGEND, counted, layout
from pipelines.report.page import Section
from pipelines.report.verdict import percent

_LINES = (("training", "", "--series-1"), ("validation", "validation_", "--series-2"))


def epochs(history: Sequence[Mapping[str, Any]] | None) -> Section | None:
    """Returns the section, from ``fit.history`` of a model's metrics.json; None without."""
    if not history:
        return None
    best = min(history, key=lambda epoch: epoch["validation_loss"])["epoch"]
    rows = [
        [
            (str(epoch["epoch"]), epoch["epoch"]),
            *((number(epoch[name]), epoch[name]) for name in ("loss", "validation_loss")),
            *((percent(epoch[name]), epoch[name]) for name in ("accuracy", "validation_accuracy")),
            (f"{epoch['learning_rate']:.2g}", epoch["learning_rate"]),
            (f"{epoch['seconds']:.1f}", epoch["seconds"]),
        ]
        for epoch in history
    ]
    return Section(
        id="epochs",
        title="Training by epoch",
        short="Epochs",
        template="epochs",
        data={"rows": rows, "best": best},
        charts={
            "loss": _chart(history, best, "loss", {"title": {"text": "loss in nats"}}),
            "accuracy": _chart(history, best, "accuracy", {"title": {"text": "accuracy"}, "tickformat": ".2~%"}),
        },
    )


def _chart(history: Sequence[Mapping[str, Any]], best: int, name: str, axis: dict[str, Any]) -> dict[str, Any]:
    lines = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": split,
            "x": [epoch["epoch"] for epoch in history],
            "y": [epoch[prefix + name] for epoch in history],
            "line": {"color": colour},
        }
        for split, prefix, colour in _LINES
    ]
    dashed = {"color": "--muted", "dash": "dash", "width": 1.5}
    axes = {
        "xaxis": {**counted("epoch", len(history)), "rangemode": "tozero"},
        "yaxis": axis,
        "shapes": [{"type": "line", "x0": best, "x1": best, "yref": "paper", "y0": 0, "y1": 1, "line": dashed}],
    }
    return {"data": lines, "layout": layout(320, legend=LEGEND, **axes)}

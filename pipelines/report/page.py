"""metrics.json to report.html: one file, no network, nothing in it can run but its own scripts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from pipelines.report import charts, verdict
from pipelines.report.assets import asset, content_policy, environment
from pipelines.report.thumbnails import thumbnails

MATRIX_CLASSES = 40
"""With more classes the page shows the most frequent mistakes only; metrics.json has the matrix."""

MISTAKES = 12
_TABLE_ROWS = 200
_EMPTY_STYLE = ""  # Plotly adds an empty style element and fills it through the object model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What the page tells beside the metrics.

    Attributes:
      run_id: of the run.
      predictions: address of what was measured.
      command: that makes the page again.
      made_at: when, for a person.
      seconds: that measuring took.
      versions: of the software.
      dead_letters: images that have no prediction, by class.
      thumbnails: how many of the worst errors are shown as pictures.
    """

    run_id: str
    predictions: str
    command: str
    made_at: str
    seconds: float
    versions: Mapping[str, str]
    dead_letters: Mapping[str, int] = dataclasses.field(default_factory=dict)
    thumbnails: int = 24


def render(metrics: Mapping[str, Any], facts: Facts) -> str:
    """Returns the page.

    Args:
      metrics: as metrics.schema.json describes them.
      facts: the rest.
    """
    templates = environment()
    templates.filters |= {"percent": verdict.percent, "number": _number}
    style, script = asset("page.css"), asset("page.js")
    shown = metrics["worst_errors"][: facts.thumbnails]
    pictures = thumbnails([entry["image_uri"] for entry in shown])
    matrix = metrics["confusion_matrix"]
    return templates.from_string(asset("page.html")).render(
        metrics=metrics,
        facts=facts,
        verdict=verdict.verdict(metrics["overall"]),
        weak_spots=verdict.weak_spots(dict(metrics)),
        cards=_cards(metrics),
        matrix=_matrix(matrix) if matrix["rows"] and len(matrix["labels"]) <= MATRIX_CLASSES else None,
        mistakes=matrix["largest"][:MISTAKES],
        classes=metrics["classes"][:_TABLE_ROWS],
        slices={name: _with_bars(entries[:_TABLE_ROWS]) for name, entries in metrics["slices"].items()},
        bins=[entry for entry in metrics["calibration"] if entry["rows"]],
        chart=charts.reliability_diagram(metrics["calibration"]),
        gallery=[{**entry, "picture": picture} for entry, picture in zip(shown, pictures, strict=True)],
        style=Markup(style),
        script=Markup(script),
        library=Markup(charts.library()),
        style_ids=charts.style_ids(),
        policy=content_policy(scripts=(charts.library(), script), styles=(style, _EMPTY_STYLE)),
    )


def _cards(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    overall = metrics["overall"]
    low, high = overall["accuracy_interval"]
    cards = [
        (
            "Accuracy",
            verdict.percent(overall["accuracy"]),
            f"95%: {verdict.percent(low)} to {verdict.percent(high)}",
        ),
        (
            "Majority class",
            verdict.percent(overall["majority_accuracy"]),
            str(overall["majority_class"] or ""),
        ),
        ("Macro F1", _number(overall["macro"]["f1"]), "mean over the classes"),
        ("Macro ROC AUC", _number(overall["macro"]["roc_auc"]), "one class against the rest"),
        ("Calibration error", verdict.percent(overall["expected_calibration_error"]), "0% is best"),
        ("Log loss", _number(overall["log_loss"]), "lower is better"),
    ]
    for k, value in overall["top_k_accuracy"].items():
        cards.append((f"Top-{k} accuracy", verdict.percent(value), f"label among the first {k}"))
    return [{"name": name, "value": value, "note": note} for name, value, note in cards]


def _matrix(matrix: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table: label and cells, each with its share of the row and a heat from 0 to 10."""
    rows = []
    for index, (label, counts) in enumerate(zip(matrix["labels"], matrix["rows"], strict=True)):
        total = sum(counts)
        cells = [
            {
                "rows": count,
                "share": count / total if total else None,
                "heat": math.ceil(10 * count / total) if total else 0,
                "right": column == index,
            }
            for column, count in enumerate(counts)
        ]
        rows.append({"label": label, "cells": cells, "total": total})
    return rows


def _with_bars(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Slices with the interval as x positions from 0 to 100."""
    return [
        {**entry, "bar": [round(100 * end, 1) for end in entry["accuracy_interval"]]}
        for entry in entries
        if entry["accuracy"] is not None
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

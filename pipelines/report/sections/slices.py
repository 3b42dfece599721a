"""Slice by slice: a forest plot with intervals, and a table that can be sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pipelines.report.assets import number, signed
from pipelines.report.charts import interval_chart
from pipelines.report.page import Section
from pipelines.report.verdict import THRESHOLD, percent, rate_at

ROWS = 200
"""Lines of a table at most, the least accurate slices; metrics.json has them all."""

POINTS = 40
"""Slices in a plot at most."""

_RATES = {"false_positive_rate": "False positive rate", "false_negative_rate": "False negative rate"}
_AREAS = {"subgroup_auc": "Subgroup AUC", "bpsn_auc": "BPSN AUC", "bnsp_auc": "BNSP AUC"}


class Slice(NamedTuple):
    """A slice, with the attribute that makes it."""

    attribute: str
    figures: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Attribute and value."""
        return f"{self.attribute} = {self.figures['value']}"


def slices(metrics: Mapping[str, Any]) -> Section | None:
    """Returns the section, from ``slices`` of metrics.schema.json; None when nothing is sliced."""
    every = [Slice(attribute, entry) for attribute, found in metrics["slices"].items() for entry in found]
    every.sort(key=lambda part: (part.figures["accuracy"] is None, part.figures["accuracy"] or 0, part.name))
    if not every and not metrics["slices_left_out"]:
        return None
    figures = _plots(metrics, every[:POINTS])
    return Section(
        id="slices",
        title="Slice by slice",
        short="Slices",
        template="slices",
        data={
            "rows": [_row(part, metrics) for part in every[:ROWS]],
            "total": len(every),
            "plots": list(enumerate(figures)),
            "plotted": min(len(every), POINTS),
            "left_out": metrics["slices_left_out"],
        },
        charts={f"forest-{place}": figure for place, figure in enumerate(figures.values())} if every else {},
    )


def _row(part: Slice, metrics: Mapping[str, Any]) -> list[Any]:
    figures, overall = part.figures, metrics["overall"]["accuracy"]
    low, high = figures["accuracy_interval"]
    accuracy = figures["accuracy"]
    gap = None if accuracy is None else accuracy - overall
    return [
        part.name + (f" (under {metrics['minimum_slice']} rows)" if figures["small"] else ""),
        (f"{figures['rows']:,}", figures["rows"]),
        (percent(accuracy), accuracy),
        (f"{percent(low)} to {percent(high)}", low),
        (signed(gap), gap),
        (percent(figures["majority_accuracy"]), figures["majority_accuracy"]),
        (number(figures["macro"]["f1"]), figures["macro"]["f1"]),
        (number(figures["macro"]["roc_auc"]), figures["macro"]["roc_auc"]),
        (percent(figures["expected_calibration_error"]), figures["expected_calibration_error"]),
    ]


def compared_classes(metrics: Mapping[str, Any]) -> list[str]:
    """Returns the classes that slices are compared by; of two, which mirror each other, the rarer one."""
    found = metrics["fairness"]["classes"]
    if len(found) == 2 == len([entry for entry in metrics["classes"] if entry["known"]]):
        found = [min(found, key=lambda entry: (entry["positives"], entry["name"]))]
    return [entry["name"] for entry in found]


def of_class(entries: Iterable[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """Returns the entry of a class."""
    return next((entry for entry in entries if entry["name"] == name), None)


def _plots(metrics: Mapping[str, Any], shown: list[Slice]) -> dict[str, Any]:
    """Figures by name: accuracy, and the rates and areas of each compared class."""
    overall = metrics["overall"]["accuracy"]
    plots = {"Accuracy": _forest(shown, overall, lambda figures: (figures["accuracy"], figures["accuracy_interval"]))}
    for name in compared_classes(metrics):
        whole = of_class(metrics["fairness"]["classes"], name)
        for rate, title in _RATES.items():
            line = rate_at(whole, rate)["value"]
            plots[f"{title} of “{name}” at {THRESHOLD}"] = _forest(shown, line, _reader(name, rate))
        area = (of_class(metrics["classes"], name) or {}).get("roc_auc")
        for kind, title in _AREAS.items():
            plots[f"{title} of “{name}”"] = _forest(shown, area, _reader(name, kind), ".2f")
    return plots


def _reader(name: str, figure: str) -> Callable[[Mapping[str, Any]], tuple[Any, Any]]:
    def read(figures: Mapping[str, Any]) -> tuple[Any, Any]:
        compared = of_class(figures["fairness"], name)
        found = (compared or {}).get(figure) or rate_at(None if figure in _AREAS else compared, figure)
        return found["value"], found["interval"]

    return read


def _forest(
    shown: list[Slice],
    line: float | None,
    read: Callable[[Mapping[str, Any]], tuple[Any, Any]],
    tick_format: str = ".2~%",
) -> dict[str, Any]:
    points = [(part.name, *read(part.figures)) for part in shown]
    return interval_chart(points, line, "all rows", tick_format)

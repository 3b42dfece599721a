"""What to do next, for a person who has read the verdict: a few sentences, each with the section that shows why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.verdict import (
    CHANCE,
    FEW,
    THRESHOLD,
    against_majority,
    confidences_are_off,
    largest_gaps,
    percent,
    points,
    slice_name,
)
from transforms.measures.confusion import wilson_interval
from transforms.measures.remarks import plural

STEPS = 5
"""Pieces of advice at most."""

_SURE, _MISCALIBRATED, _VAGUE, _WEAK = 0.9, 0.05, 0.05, 0.05
_WANTED_RECALL = 0.9

_Step = tuple[str, str] | None


def advice(metrics: Mapping[str, Any], dead_letters: Mapping[str, int]) -> list[tuple[str, str]]:
    """Returns the most important steps first, each with the id of a section.

    Args:
      metrics: as metrics.schema.json describes them.
      dead_letters: images that have no prediction, by class.
    """
    if not metrics["counts"]["measured"]:
        return [("Score images that have labels: nothing could be measured.", "warnings")]
    steps = [
        _majority(metrics["overall"]),
        _comparison(metrics["comparison"]),
        _labels(metrics["worst_errors"]),
        _class(metrics),
        _gap(metrics),
        _slice(metrics["worst_slices"]),
        _calibration(metrics),
        _letters(dead_letters),
        _rows(metrics["overall"]),
    ]
    return [step for step in steps if step][:STEPS]


def _majority(overall: Mapping[str, Any]) -> _Step:
    if overall["majority_accuracy"] is None or against_majority(overall) == "more":
        return None
    remedy = "Try more images, another encoder, or labels that can be told from the images"
    if enough := _rows_that_tell(overall["accuracy"], overall["majority_accuracy"]):
        remedy = f"At this accuracy {enough:,} measured images would tell it, here were {overall['rows']:,}"
    elif overall["rows"] < FEW:
        remedy = f"Measure {FEW} images or more, of every label; here were {overall['rows']:,}"
    return (
        f"Do not use it yet: it is not clearly better than always answering “{overall['majority_class']}”. {remedy}. "
        "heliograph train --learning-curve shows what more labelled images would bring.",
        "confusion",
    )


def _rows_that_tell(accuracy: float, majority: float) -> int | None:
    """Returns the rows, FEW or more, whose interval would exclude the majority's share; None when none would."""
    numbers = (round(FEW * 1.1**step) for step in range(80))
    return next((rows for rows in numbers if wilson_interval(accuracy, rows)[0] > majority), None)


def _comparison(found: Mapping[str, Any] | None) -> _Step:
    if not found or not found["overall"]["rows"]:
        return None
    pair = found["overall"]
    if pair["p_value"] >= CHANCE:
        return "Do not replace the previous model for its accuracy: the difference may be chance.", "comparison"
    if pair["difference"] > 0:
        return "Keep the previous model: this one is right less often.", "comparison"
    lost = pair["only_second_right"]
    return (
        f"Prefer this model to the previous one, after a look at the {plural(lost, 'image')} that it loses.",
        "comparison",
    )


def _labels(errors: list[Mapping[str, Any]]) -> _Step:
    sure = errors[0]["confidence"] if errors else None
    if sure is None or sure < _SURE:
        return None
    return (
        f"Check the labels of the most confident errors first (up to {percent(sure)} sure of another class); "
        "heliograph train --label-errors searches the training images for more.",
        "worst",
    )


def _class(metrics: Mapping[str, Any]) -> _Step:
    found = [entry for entry in metrics["classes"] if entry["recall"] is not None and entry["support"] >= FEW]
    if len(found) < 2:
        return None
    weakest = min(found, key=lambda entry: (entry["recall"], entry["name"]))
    if weakest["recall"] > metrics["overall"]["accuracy"] - _WEAK:
        return None
    text = f"“{weakest['name']}” is missed in {percent(1 - weakest['recall'])} of its rows: add images of it"
    return text + _threshold(metrics["curves"], weakest["name"]) + ".", "thresholds"


def _threshold(curves: Mapping[str, Any], name: str) -> str:
    """The highest threshold that finds most of a class, and what it costs."""
    for entry in curves["classes"]:
        if entry["name"] != name or not entry["negatives"]:
            continue
        pairs = zip(curves["thresholds"], entry["true_positives"], entry["false_positives"], strict=True)
        good = [pair for pair in pairs if pair[1] >= _WANTED_RECALL * entry["positives"]]
        if good:
            threshold, hit, alarm = good[-1]
            return (
                f", or lower its threshold: at {threshold:g} it finds {percent(hit / entry['positives'])}, and "
                f"{percent(alarm / entry['negatives'])} of the others are called so too"
            )
    return ""


def _gap(metrics: Mapping[str, Any]) -> _Step:
    for gap, name, value, compared, rate in largest_gaps(metrics)[:1]:
        return (
            f"Mend the gap of {name} = {value}: {percent(rate['value'])} of those there that are not "
            f"“{compared['name']}” are called so at {THRESHOLD}, {points(gap)} more than elsewhere; "
            "weights that equalise the label rates across it, or more of it without the label, close such a gap.",
            "fairness",
        )
    return None


def _slice(search: Mapping[str, Any]) -> _Step:
    for found in search["found"][:1]:
        if found["adjusted_p_value"] < CHANCE:
            return (
                f"Look at the errors among {slice_name(found)}: only {percent(found['accuracy'])} are right, against "
                f"{percent(found['rest_accuracy'])} elsewhere; more training images of that kind may help.",
                "worst-slices",
            )
    return None


def _calibration(metrics: Mapping[str, Any]) -> _Step:
    if not confidences_are_off(metrics) or metrics["overall"]["expected_calibration_error"] < _MISCALIBRATED:
        return None
    return (
        "Do not take the confidences for probabilities; choose a threshold by the rates that it gives here.",
        "calibration",
    )


def _letters(numbers: Mapping[str, int]) -> _Step:
    if not numbers:
        return None
    total, first = sum(numbers.values()), next(iter(numbers))
    return (
        f"Mend or drop what cannot be read: {plural(total, 'image')} without a prediction, most often {first}.",
        "dead",
    )


def _rows(overall: Mapping[str, Any]) -> _Step:
    low, high = overall["accuracy_interval"]
    half = (high - low) / 2
    if half <= _VAGUE:
        return None
    return (
        f"Measure more images: from {overall['rows']:,} the accuracy is known to ±{100 * half:.1f} percentage points; "
        "four times as many would halve that.",
        "measured",
    )

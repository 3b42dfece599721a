"""The result in sentences, for a person who was not there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transforms.measures.confusion import wilson_interval
from transforms.measures.remarks import plural

WELL_CALIBRATED = 0.03
"""Expected calibration error below which confidences are called trustworthy; its standard error must be so too."""

CHANCE = 0.05
"""p-values below it are called more than chance."""

FEW = 30
"""Rows below which it is said that they are few, and a share is compared exactly as well."""

THRESHOLD = 0.5
"""At which the rates of slices are told."""

_SLICES_IN_A_LINE = 5


def verdict(overall: Mapping[str, Any]) -> str:
    """Returns how good the predictions are against always naming the most frequent label."""
    if not overall["rows"]:
        return "Nothing could be measured."
    low, high = overall["accuracy_interval"]
    majority = overall["majority_accuracy"]
    if majority is None:
        return (
            f"{percent(overall['accuracy'])} of {plural(overall['rows'], 'row')} have exactly the right labels "
            f"(95% interval {percent(low)} to {percent(high)}); single labels have a mean F1 of "
            f"{percent(overall['macro']['f1'])}."
        )
    few = overall["rows"] < FEW
    if (than := against_majority(overall)) is not None:
        comparison = f"{'' if few else 'clearly '}{than} than"
    else:
        comparison = "too few to tell from" if few else "not clearly different from"
    predictions = f"{plural(overall['rows'], 'prediction')} {'is' if overall['rows'] == 1 else 'are'}"
    return (
        f"{percent(overall['accuracy'])} of {predictions} right (95% interval {percent(low)} "
        f"to {percent(high)}), {comparison} the {percent(majority)} that always answering "
        f"“{overall['majority_class']}” would get{', on few images' if few and than else ''}."
    )


def against_majority(overall: Mapping[str, Any]) -> str | None:
    """Returns whether ``more`` or ``less`` is right than with the most frequent label always; None for may be chance.

    Of few rows the binomial distribution must say so as well, since the interval is an approximation.
    """
    (low, high), majority, rows = overall["accuracy_interval"], overall["majority_accuracy"], overall["rows"]
    if low <= majority <= high:
        return None
    right = round(overall["accuracy"] * rows)
    range_ = range(right, rows + 1) if low > majority else range(right + 1)
    if rows < FEW and sum(math.comb(rows, k) * majority**k * (1 - majority) ** (rows - k) for k in range_) > CHANCE / 2:
        return None
    return "more" if low > majority else "less"


def comparison_verdict(comparison: Mapping[str, Any]) -> str:
    """Returns which of two models is right more often, and whether that may be chance."""
    pair = comparison["overall"]
    if not pair["rows"]:
        return (
            "Nothing could be compared: the two share no image; --id-column sha256 pairs images of the same content "
            "under other addresses."
        )
    low, high = pair["difference_interval"]
    if not pair["changed"]:
        return (
            f"The predictions for the {plural(pair['rows'], 'row')} that {comparison['second']} has too are the same."
        )
    sure = "more than chance explains" if pair["p_value"] < CHANCE else "which may be chance"
    return (
        f"Compared with {comparison['second']} on {plural(pair['rows'], 'row')}: {percent(pair['first_accuracy'])} "
        f"right against {percent(pair['second_accuracy'])} there, a difference of {points(-pair['difference'])} "
        f"(95% interval {-100 * high:+.1f} to {-100 * low:+.1f}), {sure} (McNemar p = {pair['p_value']:.2g}); "
        f"{percent(pair['changed'])} of the predictions differ."
    )


def summarise(metrics: Mapping[str, Any]) -> list[str]:
    """Returns the verdict, the slices of attributes with few values, and the warnings, a line each."""
    lines = [verdict(metrics["overall"])]
    if metrics["comparison"]:
        lines.append(comparison_verdict(metrics["comparison"]))
    for name, entries in metrics["slices"].items():
        if 1 < len(entries) <= _SLICES_IN_A_LINE:
            parts = [f"{entry['value']} {percent(entry['accuracy'])} of {entry['rows']:,}" for entry in entries]
            lines.append(f"{name}: {', '.join(parts)}")
    return lines + [f"note: {sentence}" for sentence in metrics["warnings"]]


def weak_spots(metrics: Mapping[str, Any]) -> list[str]:
    """Returns where the predictions are worst: a class, a slice, a confusion."""
    return [
        sentence
        for sentence in (
            _weakest_class(metrics),
            _weakest_slice(metrics),
            _worst_pair(metrics),
            _largest_confusion(metrics),
        )
        if sentence
    ]


def _weakest_class(metrics: Mapping[str, Any]) -> str:
    found = [entry for entry in metrics["classes"] if entry["recall"] is not None]
    if len(found) < 2:
        return ""
    weakest = min(found, key=lambda entry: (entry["recall"], entry["name"]))
    if weakest["recall"] == 1:
        return ""
    return (
        f"Weakest class: “{weakest['name']}”, of which {percent(weakest['recall'])} are found "
        f"({weakest['true_positives']:,} of {weakest['support']:,})."
    )


def _weakest_slice(metrics: Mapping[str, Any]) -> str:
    found = [
        (entry["accuracy"], name, entry)
        for name, entries in metrics["slices"].items()
        if len(entries) > 1
        for entry in entries
        if not entry["small"] and entry["accuracy"] is not None
    ]
    if not found:
        return ""
    accuracy, name, weakest = min(found, key=lambda item: (item[0], item[1], item[2]["value"]))
    overall = metrics["overall"]["accuracy"]
    if accuracy >= overall:
        return ""
    chance = (
        "which is more than chance explains for this one slice"
        if weakest["accuracy_interval"][1] < overall
        else "which may be chance"
    )
    return (
        f"Weakest slice: {name} = {weakest['value']}, with {percent(accuracy)} right among "
        f"{weakest['rows']:,} against {percent(overall)} overall, {chance}."
    )


def _worst_pair(metrics: Mapping[str, Any]) -> str:
    """The worst slice that the search found, when it is a pair and beyond chance."""
    for found in metrics["worst_slices"]["found"][:1]:
        if len(found["attributes"]) > 1 and found["adjusted_p_value"] < CHANCE:
            return (
                f"Worst of {metrics['worst_slices']['tried']:,} slices tried: {slice_name(found)}, with "
                f"{percent(found['accuracy'])} right among {found['rows']:,} against "
                f"{percent(found['rest_accuracy'])} elsewhere (p = {found['adjusted_p_value']:.2g}, corrected)."
            )
    return ""


def _largest_confusion(metrics: Mapping[str, Any]) -> str:
    largest = metrics["confusion_matrix"]["largest"]
    if len(metrics["confusion_matrix"]["labels"]) < 3 or not largest:
        return ""
    first = largest[0]
    times = plural(first["rows"], "time")
    return f"Most frequent mistake: “{first['label']}” taken for “{first['prediction']}” ({times})."


def calibration_verdict(metrics: Mapping[str, Any]) -> str:
    """Returns whether the confidences can be believed, or that there are too few to tell; empty without predictions."""
    error = metrics["overall"]["expected_calibration_error"]
    if error is None:
        return ""
    bins, chance = _filled_bins(metrics), _calibration_by_chance(metrics)
    rows = sum(entry["rows"] for entry in bins)
    off = f"off by {points(error)} on average"
    if confidences_are_off(metrics):
        excess = sum((entry["confidence"] - entry["accuracy"]) * entry["rows"] for entry in bins) / rows
        direction = (
            "mostly too high"
            if excess > error / 2
            else "mostly too low"
            if excess < -error / 2
            else "some too high and some too low"
        )
        return f"The confidences are {off}, {direction}."
    if error < WELL_CALIBRATED and chance < 2 * WELL_CALIBRATED:
        return f"The confidences can be taken at their word: they are {off}."
    return (
        f"{plural(rows, 'prediction')} {'is' if rows == 1 else 'are'} too few to tell whether the confidences can be "
        f"taken at their word: they are {off}, and chance alone explains up to {points(chance)}."
    )


def confidences_are_off(metrics: Mapping[str, Any]) -> bool:
    """Returns whether the calibration error is WELL_CALIBRATED or more, and more than chance explains."""
    error = metrics["overall"]["expected_calibration_error"]
    return error is not None and error >= max(WELL_CALIBRATED, _calibration_by_chance(metrics))


def _calibration_by_chance(metrics: Mapping[str, Any]) -> float:
    """Two standard errors of the calibration error: the mean over the bins of half of Wilson's 95% interval."""
    total = widths = 0.0
    for entry in _filled_bins(metrics):
        low, high = wilson_interval(entry["accuracy"], entry["rows"])
        total, widths = total + entry["rows"], widths + entry["rows"] * (high - low)
    return widths / total / 2


def _filled_bins(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in metrics["calibration"] if entry["accuracy"] is not None]


def percent(value: float | None) -> str:
    """Returns a share as per cent with one decimal, a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}%"


def points(value: float) -> str:
    """Returns a difference of shares in percentage points."""
    return f"{round(100 * value, 1) + 0.0:.1f} percentage points"


def slice_name(found: Mapping[str, Any]) -> str:
    """Returns the attributes and values of a slice that the search found."""
    return " and ".join(f"{name} = {value}" for name, value in found["attributes"].items())


def rate_at(compared: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    """Returns a rate at THRESHOLD, undefined when it is not known there."""
    cells = compared["thresholds"] if compared else ()
    found = next((cell for cell in cells if cell["threshold"] == THRESHOLD), None)
    return found[name] if found else {"value": None, "interval": [None, None]}


def largest_gaps(metrics: Mapping[str, Any]) -> list[tuple[float, str, str, Mapping[str, Any], Mapping[str, Any]]]:
    """Returns the slices, of enough negatives, whose false positive rate lies above that of the rest beyond chance.

    Returns:
      The gap, attribute, value, compared class and rate of each, the largest gap first.
    """
    found = []
    for name, entries in metrics["slices"].items():
        for part in entries:
            for compared in part["fairness"]:
                if compared["negatives"] < metrics["minimum_slice"]:
                    continue
                rate = rate_at(compared, "false_positive_rate")
                if rate.get("gap") is not None and (rate["gap_interval"][0] or 0) > 0:
                    found.append((rate["gap"], name, part["value"], compared, rate))
    found.sort(key=lambda item: (-item[0], item[1], item[2], item[3]["name"]))
    return found

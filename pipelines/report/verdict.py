"""The result in sentences, for a person who was not there."""

from __future__ import annotations

from typing import Any

WELL_CALIBRATED = 0.03
"""Expected calibration error below which confidences are called trustworthy."""

_SLICES_IN_A_LINE = 5


def verdict(overall: dict[str, Any]) -> str:
    """Returns how good the predictions are against always naming the most frequent label."""
    if not overall["rows"]:
        return "Nothing could be measured."
    low, high = overall["accuracy_interval"]
    majority = overall["majority_accuracy"]
    if low > majority:
        comparison = "clearly more than"
    elif high < majority:
        comparison = "clearly less than"
    else:
        comparison = "not clearly different from"
    noun = "prediction is" if overall["rows"] == 1 else "predictions are"
    return (
        f"{percent(overall['accuracy'])} of {overall['rows']:,} {noun} right (95% interval {percent(low)} "
        f"to {percent(high)}), {comparison} the {percent(majority)} that always answering "
        f"“{overall['majority_class']}” would get."
    )


def summarise(metrics: dict[str, Any]) -> list[str]:
    """Returns the verdict, the slices of attributes with few values, and the warnings, a line each."""
    lines = [verdict(metrics["overall"])]
    for name, entries in metrics["slices"].items():
        if 1 < len(entries) <= _SLICES_IN_A_LINE:
            parts = [f"{entry['value']} {percent(entry['accuracy'])} of {entry['rows']:,}" for entry in entries]
            lines.append(f"{name}: {', '.join(parts)}")
    return lines + [f"note: {sentence}" for sentence in metrics["warnings"]]


def weak_spots(metrics: dict[str, Any]) -> list[str]:
    """Returns where the predictions are worst: a class, a slice, a confusion, and their confidence."""
    return [
        sentence
        for sentence in (
            _weakest_class(metrics),
            _weakest_slice(metrics),
            _largest_confusion(metrics),
            _confidence(metrics),
        )
        if sentence
    ]


def _weakest_class(metrics: dict[str, Any]) -> str:
    found = [entry for entry in metrics["classes"] if entry["recall"] is not None]
    if len(found) < 2:
        return ""
    weakest = min(found, key=lambda entry: (entry["recall"], entry["name"]))
    return (
        f"Weakest class: “{weakest['name']}”, of which {percent(weakest['recall'])} are found "
        f"({weakest['true_positives']:,} of {weakest['support']:,})."
    )


def _weakest_slice(metrics: dict[str, Any]) -> str:
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


def _largest_confusion(metrics: dict[str, Any]) -> str:
    largest = metrics["confusion_matrix"]["largest"]
    if len(metrics["classes"]) < 3 or not largest:
        return ""
    first = largest[0]
    times = f"{first['rows']:,} {'time' if first['rows'] == 1 else 'times'}"
    return f"Most frequent mistake: “{first['label']}” taken for “{first['prediction']}” ({times})."


def _confidence(metrics: dict[str, Any]) -> str:
    error = metrics["overall"]["expected_calibration_error"]
    if error is None:
        return ""
    if error < WELL_CALIBRATED:
        return f"The confidences can be taken at their word: they are off by {points(error)} on average."
    bins = [entry for entry in metrics["calibration"] if entry["rows"]]
    rows = sum(entry["rows"] for entry in bins)
    excess = sum((entry["confidence"] - entry["accuracy"]) * entry["rows"] for entry in bins) / rows
    direction = (
        "mostly too high"
        if excess > error / 2
        else "mostly too low"
        if excess < -error / 2
        else "some too high and some too low"
    )
    return f"The confidences are off by {points(error)} on average, {direction}."


def percent(value: float | None) -> str:
    """Returns a share as per cent with one decimal, a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}%"


def points(value: float) -> str:
    """Returns a difference of shares in percentage points."""
    return f"{100 * value:.1f} percentage points"

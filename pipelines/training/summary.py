"""What ``heliograph train`` says: notes on the way, and a summary at its end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.progress import duration
from pipelines.report.page import REPORT
from pipelines.run_record import columns
from pipelines.training.calibrate import describe_calibration
from pipelines.training.curve_figure import most_to_gain
from pipelines.training.label_errors import describe_label_errors
from pipelines.training.leak_report import describe_leaks
from pipelines.training.remedies import describe_remedies, tables
from pipelines.training.thresholds import describe_decision
from transforms.measures.remarks import plural
from transforms.model.directory import ModelDirectory

_SHOWN = 10  # labels
_SHOWN_GAINS = 5


def tell(warnings: Sequence[str]) -> None:
    """Prints notes to standard error."""
    for warning in warnings:
        print(f"heliograph: note: {warning}", file=sys.stderr)


def training_record(model: ModelDirectory, made: bool, seconds: float) -> dict[str, Any]:
    """Returns what there is to say: the model, whether it is new, its labels, metrics and the seconds it took."""
    return {
        "model": model.path,
        "version": model.version,
        "made": made,
        "labels": list(model.labels),
        "seconds": round(seconds, 3),
        "metrics": model.metrics,
        "data": model.data,
    }


def summarise(record: Mapping[str, Any]) -> str:
    """Returns the record of a training in some lines for a person."""
    metrics, labels = record["metrics"], record["labels"]
    shown = ", ".join(labels[:_SHOWN]) + (" …" if len(labels) > _SHOWN else "")
    lines = [f"model: {record['model']}{_news(record)}", f"{plural(len(labels), 'label')}: {shown}"]
    ranked = metrics.get("decision") and not metrics.get("several_labels")
    of_what = " of the most probable label" if ranked else ""  # the answers follow with the decision
    for name in ("validation", "test"):
        figures = metrics[name]
        if figures:
            low, high = figures["accuracy_interval"]
            lines.append(
                f"{name}: accuracy{of_what} {figures['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}, majority "
                f"class {figures['majority_accuracy']:.3f}) on {plural(figures['rows'], 'image')}"
            )
    lines.append(describe_calibration(metrics["temperature_scaling"]))
    lines += describe_decision(metrics.get("decision"))
    lines += describe_leaks(metrics.get("leaks"))
    lines += describe_label_errors(metrics.get("label_errors"))
    lines += describe_remedies(metrics.get("remedies"))
    for title, cells in tables(metrics.get("remedies")):
        lines += [f"before and after: {title}", *_aligned(cells)]
    lines += _sweep_table(metrics["sweep"]) if "sweep" in metrics else []
    lines += _curve_lines(metrics["learning_curve"]) if "learning_curve" in metrics else []
    lines.append(f"{duration(record['seconds'])}; read {record['model']}/{REPORT} and model_card.md")
    return "\n".join(lines)


def _news(record: Mapping[str, Any]) -> str:
    if record["made"]:
        return ""
    if record.get("gained", True):
        return ": nothing new, the same data and configuration made it before"
    return ": it began with this one, which stays the best; nothing was published"


def _sweep_table(sweep: Mapping[str, Any]) -> list[str]:
    """The ten best trials of a sweep, and the chosen one."""
    rows = list(sweep["shown"])
    if sweep["chosen"] not in rows:
        rows.append(sweep["chosen"])
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    held = f"{sweep['folds']} folds" if sweep["folds"] else "the validation split"
    title = (
        f"sweep: {sweep['configurations']} configurations on {held} in {duration(sweep['seconds'])}; "
        "chosen is the simplest within one standard error of the best (all of them: sweep.csv)"
    )
    return [title, *_aligned(cells)]


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    return ["  " + line for line in columns(cells)]


def _curve_lines(curve: Mapping[str, Any]) -> list[str]:
    """Accuracy by share of the labels, and the classes that the last doubling helped most."""
    points = ", ".join(f"{point['accuracy']:.3f} with {point['images']:,}" for point in curve["points"])
    lines = [f"learning curve: accuracy on the {curve['split']} split {points} training images"]
    for entry in most_to_gain(curve)[:_SHOWN_GAINS]:
        low, high = entry["interval"]
        lines.append(
            f"  {entry['name']}: the last doubling of the labels gave {entry['gain']:+.1%} recall "
            f"(95 % interval {low:+.1%} to {high:+.1%})"
        )
    return lines


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

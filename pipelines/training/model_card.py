"""The model card: what a model is, what it reaches and where it must not be used, for a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.report.assets import number
from pipelines.training.calibrate import describe_calibration
from pipelines.training.curve_figure import curve_markdown
from pipelines.training.label_errors import describe_label_errors
from pipelines.training.leak_report import describe_leaks
from pipelines.training.remedies import describe_remedies, tables
from pipelines.training.thresholds import describe_decision
from transforms.measures.remarks import plural

_SHOWN_CLASSES = 50

_CALL = """\
This directory is a SavedModel. Its signature `serving_default` takes `key` (string[B]) and `image_bytes`
(string[B], JPEG or PNG files) and gives `key`, `prediction` (string[B], the label) and `scores`
(float32[B, classes]); the signature `labels` gives the order of the scores. One broken image, or one of
another format, fails the whole call with a message that says so; `heliograph score` reads more formats and
sets bad images aside one by one."""


def model_card(name: str, version: int, model: Mapping[str, Any], metrics: Mapping[str, Any], command: str) -> str:
    """Returns the card as Markdown.

    Args:
      name: of the model's directory.
      version: of the model.
      model: the fields of model.json.
      metrics: the fields of metrics.json.
      command: that made the model.
    """
    curve = metrics.get("learning_curve")
    several = model["head"]["activation"] == "sigmoid"
    labels = "Any number of labels" if several else "One label"
    sections = [
        f"# {name}, version {version}\n\nA {model['head']['activation']} head on the image encoder "
        f"{model['encoder']['name']}. It tells {plural(len(model['head']['labels']), 'class')} apart: "
        f"{_listed(model['head']['labels'])}.",
        f"## Intended use\n\n{labels} for a photograph of the kind it was trained on, with a confidence each. "
        "A person checks what follows from it wherever a mistake would harm someone.",
        "## Data\n\n" + _data(model, metrics),
        "## Metrics\n\n" + _figures(metrics),
        "## Metrics per slice\n\n" + _slices(metrics["slices"]),
        *(["## Remedies, before and after\n\n" + _remedies(metrics["remedies"])] if metrics.get("remedies") else []),
        *(["## What more labels may buy\n\n" + curve_markdown(curve)] if curve else []),
        "## Limits\n\n" + _limits(metrics),
        f"## How to call it\n\n{_CALL}",
        f"## How to make it again\n\n    {command}\n\nThe same data, configuration, software and machine give the same "
        "weights; run.json names them.\n\n"
        f"```json\n{json.dumps(model['data'], indent=2, ensure_ascii=False)}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _data(model: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    data, examples = model["data"], metrics["examples"]
    held_out = " (held out of the training split)" if metrics["held_out"] else ""
    lines = [
        _origin(data),
        f"- {examples['train']:,} training, {examples['validation']:,} validation{held_out} and "
        f"{examples['test']:,} test vectors",
        f"- Encoder `{model['encoder']['source']}`, fingerprint {model['encoder_fingerprint']}",
        *(f"- Note: {warning}" for warning in metrics["warnings"]),
    ]
    return "\n".join(lines)


def _origin(data: Mapping[str, Any]) -> str:
    if "table" in data:
        return f"- Table `{data['table']}`, version {data['table_version']}, of the store `{data['store']}`"
    inputs = ", ".join(f"`{name}`" for name in data["input"])
    start = f"; the training began with the model `{data['start']['model']}`" if "start" in data else ""
    return f"- {plural(data['images'], 'image')} of {inputs}, split {data['split']} where they do not say{start}"


def _figures(metrics: Mapping[str, Any]) -> str:
    splits = {name: metrics[name] for name in ("validation", "test") if metrics[name]}
    lines = [f"| | {' | '.join(splits)} |", "|---|" + "---|" * len(splits)]
    rows = {
        "images": lambda entry: f"{entry['rows']:,}",
        "accuracy": lambda entry: number(entry["accuracy"]),
        "95 % interval": lambda entry: " to ".join(map(number, entry["accuracy_interval"])),
        "accuracy of the majority class": lambda entry: number(entry["majority_accuracy"]),
        "macro F1": lambda entry: number(entry["macro"]["f1"]),
        "micro F1": lambda entry: number(entry["micro"]["f1"]),
        "log loss": lambda entry: number(entry["log_loss"]),
        "expected calibration error": lambda entry: number(entry["expected_calibration_error"]),
    }
    if not metrics["several_labels"]:
        del rows["micro F1"]  # which is the accuracy
    lines += [f"| {name} | {' | '.join(map(figure, splits.values()))} |" for name, figure in rows.items()]
    name, entry = list(splits.items())[-1]
    remarks = [describe_calibration(metrics["temperature_scaling"]), *describe_decision(metrics.get("decision"))]
    remarks += describe_leaks(metrics.get("leaks")) + describe_label_errors(metrics.get("label_errors"))
    lines += ["", *(f"- {_cell(remark)}" for remark in remarks)]
    lines += ["", f"By class, on the {name} split:", "", "| class | images | precision | recall | F1 |"]
    lines += ["|---|---|---|---|---|"]
    for figures in entry["classes"][:_SHOWN_CLASSES]:
        numbers = " | ".join(number(figures[key]) for key in ("precision", "recall", "f1"))
        lines.append(f"| {_cell(figures['name'])} | {figures['support']:,} | {numbers} |")
    if len(entry["classes"]) > _SHOWN_CLASSES:
        lines.append(f"\n{plural(len(entry['classes']) - _SHOWN_CLASSES, 'more class')}: see metrics.json.")
    return "\n".join(lines)


def _slices(slices: Mapping[str, Any]) -> str:
    lines = [f"On the {slices['split']} split, by the attributes of its images:", ""]
    lines += ["| slice | images | accuracy | 95 % interval | macro F1 |", "|---|---|---|---|---|"]
    rows = [(name, entry) for name, entries in slices["attributes"].items() for entry in entries]
    for name, entry in rows[:_SHOWN_CLASSES]:
        interval = " to ".join(map(number, entry["accuracy_interval"]))
        figures = f"{number(entry['accuracy'])} | {interval} | {number(entry['macro_f1'])}"
        lines.append(f"| {_cell(name)} = {_cell(entry['value'])} | {entry['rows']:,} | {figures} |")
    if not rows:
        return (
            "None: the images have no attribute with a few values. A manifest's further columns are attributes; "
            "`heliograph evaluate --slice` measures by them."
        )
    if len(rows) > _SHOWN_CLASSES:
        lines.append(f"\n{len(rows) - _SHOWN_CLASSES} more slices are in metrics.json.")
    return "\n".join(lines)


def _remedies(remedies: Mapping[str, Any]) -> str:
    lines = [f"- {_cell(line)}" for line in describe_remedies(remedies)]
    for title, (heading, *rows) in tables(remedies):
        lines += ["", _cell(title), "", f"| {' | '.join(map(_cell, heading))} |", "|---" * len(heading) + "|"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines)


def _limits(metrics: Mapping[str, Any]) -> str:
    answer = "a confidence for each label" if metrics["several_labels"] else "one of its labels"
    decision = metrics.get("decision")
    every = "almost every" if decision and decision["validation"]["answered"] < 1 else "every"
    folded = any(attempt["fold"] >= 0 for attempt in metrics["fit"]["attempts"])
    chosen = "the temperature was" if folded else "regularisation, end of training and temperature were"
    lines = [
        f"- It gives {answer} to {every} image, also to one that shows nothing of the kind.",
        "- The figures hold for images like those it was measured on; measure again where it is to work.",
        f"- The validation figures are slightly too good: {chosen} chosen on those images."
        + ("" if metrics["test"] else " There was no test split to measure on."),
        "- Slices that no attribute tells of (place, camera, group of people) were not looked at, and single slices "
        "may be small: `heliograph evaluate --slice` measures more of them, with their gaps.",
        f"- The served model's logits differ from the batch path's by at most "
        f"{metrics['served_difference']:.1g} of the largest, on the golden images.",
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _listed(labels: list[str]) -> str:
    more = f" and {len(labels) - _SHOWN_CLASSES} more" if len(labels) > _SHOWN_CLASSES else ""
    return ", ".join(map(_cell, labels[:_SHOWN_CLASSES])) + more

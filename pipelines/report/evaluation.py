"""The report of ``heliograph evaluate``: which sections it has, from metrics.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.advice import advice
from pipelines.report.assets import number
from pipelines.report.page import Card, Page, Section
from pipelines.report.sections.calibration import calibration
from pipelines.report.sections.classes import classes
from pipelines.report.sections.comparison import comparison
from pipelines.report.sections.confusion import confusion
from pipelines.report.sections.curves import curves
from pipelines.report.sections.dead_letters import dead_letters
from pipelines.report.sections.fairness import fairness
from pipelines.report.sections.gallery import gallery
from pipelines.report.sections.reproduce import RunFacts, reproduce
from pipelines.report.sections.slices import slices
from pipelines.report.sections.thresholds import thresholds
from pipelines.report.sections.throughput import throughput
from pipelines.report.sections.warnings import warnings
from pipelines.report.sections.worst_slices import worst_slices
from pipelines.report.verdict import comparison_verdict, percent, verdict, weak_spots

_WORST = "Wrong predictions that were most confident. Look for wrong labels first, then for what they have in common."
_UNSURE = "Predictions with the lowest confidence, right or wrong: the model has seen too little that is like them."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts(RunFacts):
    """What the page tells beside the metrics.

    Attributes:
      predictions: address of what was measured.
      dead_letters: images that have no prediction, by class.
      reasons: some of them, with image_uri, error_class and error_message.
      scoring: run record of the predictions.
      thumbnails: how many images of a gallery are shown; 0 for no pictures at all.
    """

    predictions: str
    dead_letters: Mapping[str, int] = dataclasses.field(default_factory=dict)
    reasons: Sequence[Mapping[str, str]] = ()
    scoring: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    thumbnails: int = 24


def evaluation_page(metrics: Mapping[str, Any], facts: Facts) -> Page:
    """Returns the page.

    Args:
      metrics: as metrics.schema.json describes them.
      facts: the rest.
    """
    overall, other = metrics["overall"], metrics["comparison"]
    shown = facts.thumbnails
    versions = ", ".join(metrics["model_versions"])
    return Page(
        run_id=facts.run_id,
        title=f"Evaluation: {percent(overall['accuracy'])} right",
        kicker=f"Evaluation{f' of model {versions}' if versions else ''} on {facts.predictions}, {facts.made_at}",
        verdict=verdict(overall),
        against=[comparison_verdict(other)] if other else [],
        findings=weak_spots(metrics),
        advice=advice(metrics, facts.dead_letters),
        cards=cards(overall),
        sections=[
            warnings(metrics["warnings"]),
            *measured(metrics, shown),
            dead_letters(facts.dead_letters, facts.reasons),
            throughput(facts.scoring, "scored"),
            reproduce(facts, _measured(metrics, facts)),
        ],
        footer="The same figures, without rounding, stand in metrics.json and metrics.parquet beside this page.",
    )


def measured(metrics: Mapping[str, Any], shown: int) -> list[Section | None]:
    """Returns the sections of the figures and of the images that stand out.

    Args:
      metrics: as metrics.schema.json describes them.
      shown: images of a gallery; 0 for no pictures at all.
    """
    other = metrics["comparison"]
    return [
        confusion(metrics, pictures=shown > 0),
        calibration(metrics),
        classes(metrics),
        thresholds(metrics),
        curves(metrics),
        slices(metrics),
        fairness(metrics),
        worst_slices(metrics, pictures=shown > 0),
        comparison(other, shown),
        gallery("worst", "The worst errors", "Worst errors", _WORST, metrics["worst_errors"][:shown]),
        gallery("unsure", "The least confident", "Unsure", _UNSURE, metrics["least_confident"][:shown]),
    ]


def cards(overall: Mapping[str, Any]) -> list[Card]:
    """Returns the main figures, from ``overall`` of metrics.schema.json."""
    low, high = overall["accuracy_interval"]
    majority = percent(overall["majority_accuracy"])
    found = [
        Card(name="Accuracy", value=percent(overall["accuracy"]), note=f"95%: {percent(low)} to {percent(high)}"),
        Card(name="Majority class", value=majority, note=overall["majority_class"] or ""),
        Card(name="Macro F1", value=number(overall["macro"]["f1"]), note="mean over the classes"),
        Card(name="Macro ROC AUC", value=number(overall["macro"]["roc_auc"]), note="one class against the rest"),
        Card(name="Calibration error", value=percent(overall["expected_calibration_error"]), note="0% is best"),
        Card(name="Log loss", value=number(overall["log_loss"]), note="lower is better"),
    ]
    for k, value in overall["top_k_accuracy"].items():
        found.append(Card(name=f"Top-{k} accuracy", value=percent(value), note=f"label among the first {k}"))
    return found


def _measured(metrics: Mapping[str, Any], facts: Facts) -> dict[str, str]:
    counts = metrics["counts"]
    parts = {
        "measured": "measured",
        "unlabelled": "without a label",
        "several_labels": "with several labels",
        "nan_scores": "without finite confidences",
        "bad_rows": "unreadable",
    }
    exact = metrics["overall"]["roc_auc_method"] == "exact"
    method = "exact" if exact else "from a histogram of the scores, with the error that stands beside it"
    return {
        "Predictions": facts.predictions,
        "Model": ", ".join(metrics["model_versions"]) or "not recorded",
        "Rows": f"{counts['rows']:,} = " + " + ".join(f"{counts[name]:,} {text}" for name, text in parts.items()),
        "ROC AUC": f"{method}; one class against the rest",
        "Intervals": f"95%: Wilson's for shares, of gaps and areas by bootstrap with "
        f"{metrics['bootstrap']['draws']:,} draws",
    }

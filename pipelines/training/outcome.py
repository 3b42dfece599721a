"""From a table to a head, its metrics and the files that go with it."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipelines.training.assemble import collect_metrics
from pipelines.training.calibrate import TemperatureFit, calibrate
from pipelines.training.checks import CheckSettings
from pipelines.training.features import Splits, read_split_features, split_features
from pipelines.training.fit_settings import FitSettings
from pipelines.training.lab import LabResult, LabSettings, run_lab
from pipelines.training.label_errors import find_label_errors
from pipelines.training.leak_report import guard
from pipelines.training.leaks import FIX
from pipelines.training.measure import measure
from pipelines.training.rebalance import cells, rebalance, remarks
from pipelines.training.remedies import compare_stages
from pipelines.training.remedy_settings import RemedySettings, constrained
from pipelines.training.slice_thresholds import equalise
from pipelines.training.stream import check_streamed, fit_streamed
from pipelines.training.summary import tell
from pipelines.training.thresholds import ThresholdSettings, decide
from transforms.errors import OptionError
from transforms.model.head import Head
from transforms.store.table import FeatureTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a training gives.

    Attributes:
      head: calibrated.
      metrics: of metrics.json.
      files: further files of the model's directory, by name.
    """

    head: Head
    metrics: dict[str, Any]
    files: dict[str, bytes]


def from_memory(
    table: FeatureTable, fit: FitSettings, lab: LabSettings, checks: CheckSettings, remedies: RemedySettings
) -> Outcome:
    """Reads a table once, looks for leaks, and fits."""
    attributes = remedies.attributes
    guarded = guard(read_split_features(table), checks.leaks, table.path)
    splits = split_features(guarded.features, table.path, fit.labels_per_image, attributes)
    splits = dataclasses.replace(splits, warnings=(*splits.warnings, *guarded.warnings))
    tell(splits.warnings)
    result, head, temperature = _fit_splits(splits, fit, lab, remedies)
    head, decision = decide(head, splits, checks.thresholds)
    tell(decision["warnings"] if decision else ())
    head, remedied = _remedied(splits, result.settings, head, checks.thresholds, remedies)
    tell(remedied["warnings"] if remedied else ())
    suspects = find_label_errors(guarded.features, result.settings, result.fit) if checks.label_errors else None
    accuracy_before = None
    if guarded.moved:
        before = split_features(guarded.before, table.path, fit.labels_per_image, attributes)
        _, seen, _ = _fit_splits(before, result.settings, LabSettings(), remedies)
        accuracy_before = (measure(seen, before.test, before.foreign_labels) or {}).get("accuracy")
    found = guarded.metrics(head, splits.test, accuracy_before)
    return Outcome(
        head=head,
        metrics={
            **collect_metrics(splits, result.fit, head, temperature),
            **result.metrics,
            "leaks": found,
            "decision": decision,
            "remedies": remedied,
            "label_errors": suspects and suspects.metrics(),
        },
        files={**guarded.files(), **result.files, **(suspects.files() if suspects else {})},
    )


def from_stream(
    table: FeatureTable, fit: FitSettings, lab: LabSettings, checks: CheckSettings, remedies: RemedySettings
) -> Outcome:
    """Reads a table that is beyond memory again for every pass.

    Raises:
      OptionError: for what needs all features in memory.
    """
    asked = {
        "--sweep": lab.sweep,
        "--learning-curve": lab.learning_curve,
        "--fix-leaks": checks.leaks.action == FIX,
        "--label-errors": checks.label_errors,
        "--rebalance": remedies.rebalance,
        "--mindiff": remedies.mindiff,
        "--slice-thresholds": remedies.slice_thresholds,
    }
    check_streamed(fit, asked)
    splits, fitted = fit_streamed(table, fit)
    tell(splits.warnings)
    head, temperature = calibrate(fitted.head, splits.validation)
    head, decision = decide(head, splits, checks.thresholds)
    tell(decision["warnings"] if decision else ())
    metrics = {**collect_metrics(splits, fitted, head, temperature), "decision": decision}
    return Outcome(head=head, metrics=metrics, files={})


def _fit_splits(
    splits: Splits, fit: FitSettings, lab: LabSettings, remedies: RemedySettings
) -> tuple[LabResult, Head, TemperatureFit]:
    if remedies.attributes and splits.train.several:
        raise OptionError(
            f"images have several labels, and {remedies.flags[0]} is for one label an image; leave it out, or embed "
            "them with one"
        )
    if remedies.rebalance:
        splits = rebalance(splits, remedies.rebalance)
    validation = splits.validation.known(len(splits.labels))
    result = run_lab(splits, validation, constrained(fit, remedies), lab)
    return result, *calibrate(result.fit.head, validation)


def _remedied(
    splits: Splits, fit: FitSettings, head: Head, thresholds: ThresholdSettings, remedies: RemedySettings
) -> tuple[Head, dict[str, Any] | None]:
    """Returns the head with its thresholds of slices, and what the remedies have changed, one after the other."""
    if not remedies.attributes:
        return head, None
    stages, warnings, slices = list[tuple[str, Head]](), list[str](), None
    for name, stage in remedies.stages():
        own = head
        if constrained(fit, stage) != constrained(fit, remedies) or stage.rebalance != remedies.rebalance:
            _, own, _ = _fit_splits(splits, fit, LabSettings(), stage)
            own, _ = decide(own, splits, thresholds)
        if stage.slice_thresholds:
            own, slices = equalise(own, splits.validation, stage.slice_thresholds, stage.positive_label)
            warnings += slices["warnings"]
        stages.append((name, own))
    found = cells(splits, remedies.rebalance) if remedies.rebalance else None
    warnings += remarks(found, remedies.rebalance) if found and remedies.rebalance else []
    return stages[-1][1], {
        "rebalance": found and {"attribute": remedies.rebalance, "cells": [cell._asdict() for cell in found]},
        "mindiff": remedies.mindiff and dataclasses.asdict(remedies.mindiff),
        "slice_thresholds": slices,
        "before_and_after": compare_stages(stages, splits, remedies.attributes, remedies.positive_label),
        "warnings": warnings,
    }

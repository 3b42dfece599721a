"""From a table to a head, its metrics and the files that go with it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
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
from pipelines.training.stream import check_streamed, fit_streamed
from pipelines.training.thresholds import decide
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


def from_memory(table: FeatureTable, fit: FitSettings, lab: LabSettings, checks: CheckSettings) -> Outcome:
    """Reads a table once, looks for leaks, and fits."""
    guarded = guard(read_split_features(table), checks.leaks, table.path)
    splits = split_features(guarded.features, table.path, fit.labels_per_image)
    splits = dataclasses.replace(splits, warnings=(*splits.warnings, *guarded.warnings))
    _tell(splits.warnings)
    result, head, temperature = _fit_splits(splits, fit, lab)
    head, decision = decide(head, splits, checks.thresholds)
    _tell(decision["warnings"] if decision else ())
    suspects = find_label_errors(guarded.features, result.settings, result.fit) if checks.label_errors else None
    accuracy_before = None
    if guarded.moved:
        before = split_features(guarded.before, table.path, fit.labels_per_image)
        _, seen, _ = _fit_splits(before, result.settings, LabSettings())
        accuracy_before = (measure(seen, before.test, before.foreign_labels) or {}).get("accuracy")
    found = guarded.metrics(head, splits.test, accuracy_before)
    return Outcome(
        head=head,
        metrics={
            **collect_metrics(splits, result.fit, head, temperature),
            **result.metrics,
            "leaks": found,
            "decision": decision,
            "label_errors": suspects and suspects.metrics(),
        },
        files={**guarded.files(), **result.files, **(suspects.files() if suspects else {})},
    )


def from_stream(table: FeatureTable, fit: FitSettings, lab: LabSettings, checks: CheckSettings) -> Outcome:
    """Reads a table that is beyond memory again for every pass.

    Raises:
      OptionError: for what needs all features in memory.
    """
    asked = {
        "--sweep": lab.sweep,
        "--learning-curve": lab.learning_curve,
        "--fix-leaks": checks.leaks.action == FIX,
        "--label-errors": checks.label_errors,
    }
    check_streamed(fit, asked)
    splits, fitted = fit_streamed(table, fit)
    _tell(splits.warnings)
    head, temperature = calibrate(fitted.head, splits.validation)
    head, decision = decide(head, splits, checks.thresholds)
    _tell(decision["warnings"] if decision else ())
    metrics = {**collect_metrics(splits, fitted, head, temperature), "decision": decision}
    return Outcome(head=head, metrics=metrics, files={})


def _fit_splits(splits: Splits, fit: FitSettings, lab: LabSettings) -> tuple[LabResult, Head, TemperatureFit]:
    validation = splits.validation.known(len(splits.labels))
    result = run_lab(splits, validation, fit, lab)
    return result, *calibrate(result.fit.head, validation)


def _tell(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"heliograph: note: {warning}", file=sys.stderr)

"""The head lab: search settings, fit the head, draw its learning curve."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from pipelines.training.curve_figure import curve_svg
from pipelines.training.features import Examples, Splits
from pipelines.training.fit_head import Fit, fit_head
from pipelines.training.fit_settings import FitSettings
from pipelines.training.learning_curve import learning_curve
from pipelines.training.sweep import run_sweep
from pipelines.training.sweep_settings import SweepSettings, add_sweep_flags, sweep_arguments, sweep_settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabSettings:
    """What is done beside one fit.

    Attributes:
      sweep: the search over settings, None for none.
      learning_curve: whether heads are fitted on parts of the labels too.
    """

    sweep: SweepSettings | None = None
    learning_curve: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabResult:
    """What came of it.

    Attributes:
      fit: the head.
      settings: that it was fitted with, of a sweep the chosen ones.
      metrics: ``sweep`` and ``learning_curve`` of metrics.json, those that were asked for.
      files: for the model's directory, by name.
    """

    fit: Fit
    settings: FitSettings
    metrics: dict[str, Any]
    files: dict[str, bytes]


def add_lab_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of LabSettings."""
    add_sweep_flags(parser)
    parser.add_argument(
        "--learning-curve", action="store_true", help="fit on 10, 25, 50 and 100 %% of the labels too, with intervals"
    )


def lab_settings(flags: argparse.Namespace, base: FitSettings) -> LabSettings:
    """Returns what the flags say.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """
    sweep = sweep_settings(flags)
    if sweep is not None:
        sweep.configure(base)  # tells what is wrong before anything is read
    return LabSettings(sweep=sweep, learning_curve=flags.learning_curve)


def lab_arguments(settings: LabSettings) -> list[str]:
    """Returns the flags again, the inverse of lab_settings."""
    return [*sweep_arguments(settings.sweep), *(["--learning-curve"] if settings.learning_curve else [])]


def run_lab(splits: Splits, validation: Examples, settings: FitSettings, lab: LabSettings) -> LabResult:
    """Fits the head, after the search if there is one.

    Args:
      splits: as features.read_splits gives them, in memory once for everything.
      validation: rows of known labels.
      settings: how to fit; of a sweep, what is the same for all.
      lab: what to do beside.
    """
    metrics: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    if lab.sweep is not None:
        sweep = run_sweep(splits, validation, settings, lab.sweep)
        settings = sweep.trials[sweep.chosen].settings
        metrics["sweep"], files["sweep.csv"] = sweep.to_json(), sweep.to_csv()
    fit = fit_head(splits.train, validation, splits.labels, settings, splits.folds)
    if lab.learning_curve:
        curve = learning_curve(splits, validation, settings)
        metrics["learning_curve"], files["learning_curve.svg"] = curve, curve_svg(curve)
        files["learning_curve.json"] = (json.dumps(curve, indent=2, ensure_ascii=False) + "\n").encode()
    return LabResult(fit=fit, settings=settings, metrics=metrics, files=files)

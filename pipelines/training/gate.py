"""The quality gate: a model below the accuracy that was demanded is not exported."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from transforms.errors import OptionError, QualityGateError


def add_gate_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--assert-accuracy-at-least``."""
    parser.add_argument(
        "--assert-accuracy-at-least",
        type=float,
        metavar="X",
        help="fail and export nothing below this accuracy on the test split (without one: validation)",
    )


def check_threshold(threshold: float | None) -> None:
    """Refuses an accuracy that is none.

    Raises:
      OptionError: outside [0, 1].
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise OptionError(f"--assert-accuracy-at-least must be in [0, 1], such as 0.8, got {threshold:g}")


def check_accuracy(metrics: Mapping[str, Any], threshold: float | None) -> None:
    """Compares the accuracy on the test split, or else on the validation split, with ``threshold``.

    Raises:
      QualityGateError: it is lower.
    """
    if threshold is None:
        return
    split = "test" if metrics["test"] else "validation"
    accuracy, rows = metrics[split]["accuracy"], metrics[split]["rows"]
    if accuracy < threshold:
        raise QualityGateError(
            f"accuracy {accuracy:.4f} on the {split} split ({rows:,} images) is below "
            f"--assert-accuracy-at-least {threshold:g}; the model is not exported"
        )

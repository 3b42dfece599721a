"""What ``heliograph train`` does beside fitting: the leak guard, thresholds and label errors; their flags together."""

from __future__ import annotations

import argparse
import dataclasses

from pipelines.training.leaks import LeakSettings, add_leak_arguments, leak_arguments, leak_settings
from pipelines.training.thresholds import (
    ThresholdSettings,
    add_threshold_arguments,
    threshold_arguments,
    threshold_settings,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """What is done beside fitting.

    Attributes:
      leaks: duplicates across splits.
      thresholds: from which confidence on a label is the answer.
      label_errors: whether labels that are probably wrong are looked for.
    """

    leaks: LeakSettings = dataclasses.field(default_factory=LeakSettings)
    thresholds: ThresholdSettings = dataclasses.field(default_factory=ThresholdSettings)
    label_errors: bool = False


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of all of them."""
    add_leak_arguments(parser)
    add_threshold_arguments(parser)
    parser.add_argument(
        "--label-errors", action="store_true", help="look for labels that are probably wrong, with pictures of them"
    )


def check_settings(flags: argparse.Namespace) -> CheckSettings:
    """Returns the settings that the flags name.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """
    return CheckSettings(
        leaks=leak_settings(flags), thresholds=threshold_settings(flags), label_errors=flags.label_errors
    )


def check_arguments(settings: CheckSettings) -> list[str]:
    """Returns the flags of what differs from the default, the inverse of check_settings."""
    label_errors = ["--label-errors"] if settings.label_errors else []
    return [*leak_arguments(settings.leaks), *threshold_arguments(settings.thresholds), *label_errors]

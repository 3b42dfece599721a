"""What the settings of every training may be, whether a head or a network is trained."""

from __future__ import annotations

import math
from typing import Any

from transforms.errors import OptionError


def check_ranges(settings: Any) -> None:
    """Checks the fields that FitSettings and NetworkSettings have both; None is whatever is chosen for the data.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """
    for field in ("dropout_rate", "label_smoothing"):
        _check(settings, field, 0 <= getattr(settings, field) < 1, "in [0, 1)")
    for field in ("learning_rate", "train_epochs", "patience", "batch_size"):
        value = getattr(settings, field)
        _check(settings, field, value is None or 0 < value < math.inf, "positive")
    _check(settings, "seed", 0 <= settings.seed < 2**31, f"in [0, {2**31})")


def _check(settings: Any, field: str, right: bool, expected: str) -> None:
    if not right:
        flag = field.replace("_", "-")
        raise OptionError(f"--{flag} must be {expected}, got {getattr(settings, field)}")

"""How a head is fitted: the settings, and the flags that say them."""

from __future__ import annotations

import argparse
import dataclasses

from pipelines.options import positive
from pipelines.training.features import AUTO, LABELS_PER_IMAGE
from transforms.errors import OptionError


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a head is fitted.

    Attributes:
      dropout_rate: share of a layer's inputs that a training step sets to zero, in [0, 1).
      l2_regularizer: factor of the weights' squares in the loss; None finds it, see fit_head.
      label_smoothing: share of a target spread over all classes, in [0, 1).
      learning_rate: of Adam.
      train_epochs: passes over the training split, at most.
      batch_size: examples a step, at most; a pass has eight steps at least.
      class_weights: ``none``, ``balanced``, or ``label=weight,…``.
      hidden_units: widths of ReLU layers before the softmax; none is a linear head.
      patience: epochs without a better validation loss after which training stops.
      labels_per_image: ``one`` for a softmax, ``several`` for a sigmoid a label, ``auto`` for what the data has.
      seed: of the shuffling, the dropout and the initial weights of hidden layers.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """

    dropout_rate: float = 0.0
    l2_regularizer: float | None = None
    label_smoothing: float = 0.0
    learning_rate: float = 0.0005
    train_epochs: int = 100
    batch_size: int = 1024
    class_weights: str = "none"
    hidden_units: tuple[int, ...] = ()
    patience: int = 5
    labels_per_image: str = AUTO
    seed: int = 0

    def __post_init__(self) -> None:
        for flag in ("dropout_rate", "label_smoothing"):
            if not 0 <= getattr(self, flag) < 1:
                raise OptionError(f"{_flag(flag)} must be in [0, 1), got {getattr(self, flag)}")
        for flag in ("learning_rate", "train_epochs", "batch_size", "patience"):
            if not 0 < getattr(self, flag) < float("inf"):
                raise OptionError(f"{_flag(flag)} must be positive, got {getattr(self, flag)}")
        if self.l2_regularizer is not None and not 0 <= self.l2_regularizer < float("inf"):
            raise OptionError(f"--l2-regularizer must be auto, 0 or positive, got {self.l2_regularizer}")
        if any(units < 1 for units in self.hidden_units):
            raise OptionError(f"--hidden-units must be positive, got {','.join(map(str, self.hidden_units))}")
        if not 0 <= self.seed < 2**31:
            raise OptionError(f"--seed must be in [0, 2147483648), got {self.seed}")


def add_fit_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each field of FitSettings but ``patience``."""
    default = FitSettings()
    parser.add_argument("--dropout-rate", type=float, default=default.dropout_rate, help="in [0, 1)")
    parser.add_argument(
        "--l2-regularizer",
        default=AUTO,
        metavar="L2",
        help="factor of the weights' squares in the loss; auto finds it on held-out examples",
    )
    parser.add_argument("--label-smoothing", type=float, default=default.label_smoothing, help="in [0, 1)")
    parser.add_argument("--learning-rate", type=float, default=default.learning_rate, help="of Adam")
    parser.add_argument(
        "--train-epochs",
        type=positive(int),
        default=default.train_epochs,
        help="passes over the data, at most",
    )
    parser.add_argument("--batch-size", type=positive(int), default=default.batch_size, help="examples a step, at most")
    parser.add_argument(
        "--class-weights",
        default=default.class_weights,
        metavar="W",
        help="none, balanced, or label=weight,… (labels that are not named weigh 1)",
    )
    parser.add_argument(
        "--hidden-units",
        default="",
        metavar="N,…",
        help="widths of ReLU layers before the softmax, such as 256",
    )
    parser.add_argument(
        "--labels-per-image",
        choices=LABELS_PER_IMAGE,
        default=default.labels_per_image,
        help="one fits a softmax, several a sigmoid for each label; auto is several when an image has more than one",
    )
    parser.add_argument("--seed", type=int, default=default.seed, help="the same seed gives the same model")


def fit_settings(flags: argparse.Namespace) -> FitSettings:
    """Returns the settings that the flags name.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """
    return FitSettings(
        dropout_rate=flags.dropout_rate,
        l2_regularizer=_l2(flags.l2_regularizer),
        label_smoothing=flags.label_smoothing,
        learning_rate=flags.learning_rate,
        train_epochs=flags.train_epochs,
        batch_size=flags.batch_size,
        class_weights=flags.class_weights,
        hidden_units=_units(flags.hidden_units),
        labels_per_image=flags.labels_per_image,
        seed=flags.seed,
    )


def fit_arguments(settings: FitSettings) -> list[str]:
    """Returns the flags of what differs from the default, the inverse of fit_settings."""
    words: list[str] = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value != field.default and field.name != "patience":
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += ["--" + field.name.replace("_", "-"), text]
    return words


def _l2(text: str) -> float | None:
    if text == AUTO:
        return None
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"--l2-regularizer must be auto, 0 or positive, got {text!r}") from None


def _units(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise OptionError(f"--hidden-units must be numbers such as 256 or 512,256, got {text!r}") from None


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")

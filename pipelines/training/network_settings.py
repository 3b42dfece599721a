"""How a network is trained on pixels: the settings, and the flags that say them."""

from __future__ import annotations

import argparse
import dataclasses

from pipelines.options import positive
from pipelines.training.setting_ranges import check_ranges
from transforms.errors import OptionError
from transforms.images.augment import POLICIES, find_policy

NO_AUGMENTATION = "none"
SCHEDULES = ("cosine", "constant")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """How a network is trained.

    Attributes:
      learning_rate: of Adam, after the warm-up.
      schedule: ``cosine`` falls to zero at the last epoch, ``constant`` stays.
      warm_up_epochs: over which the learning rate rises from zero.
      train_epochs: passes over the training split, at most.
      patience: epochs without a better validation loss after which training stops.
      ema_epochs: the weights that are measured and exported are the exponential moving average over about so many
        epochs; 0 for the last ones.
      batch_size: images a step.
      augment: policy of the changes that each image undergoes anew in each epoch, as find_policy takes it, or
        ``none``.
      dropout_rate: share of the inputs of each dense layer that a step sets to zero, in [0, 1).
      l2_regularizer: factor of the trained kernels' squares in the loss.
      label_smoothing: share of a target spread over all classes, in [0, 1).
      class_weights: ``none``, ``balanced``, or ``label=weight,…``.
      seed: of the initial weights, the shuffling, the augmentation and the dropout.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """

    learning_rate: float = 0.001
    schedule: str = "cosine"
    warm_up_epochs: float = 1.0
    train_epochs: int = 30
    patience: int = 6
    ema_epochs: float = 0.0
    batch_size: int = 32
    augment: str = "natural"
    dropout_rate: float = 0.3
    l2_regularizer: float = 0.0
    label_smoothing: float = 0.0
    class_weights: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self)
        for flag, value in (("--l2-regularizer", self.l2_regularizer), ("--ema-epochs", self.ema_epochs)):
            if not 0 <= value < float("inf"):
                raise OptionError(f"{flag} must be 0 or positive, got {value}")
        if not 0 <= self.warm_up_epochs < self.train_epochs:
            raise OptionError(
                f"--warm-up-epochs must be 0 or more and below --train-epochs {self.train_epochs}, "
                f"got {self.warm_up_epochs:g}; give more epochs or a shorter warm-up"
            )
        if self.schedule not in SCHEDULES:
            raise OptionError(f"--schedule must be {' or '.join(SCHEDULES)}, got {self.schedule!r}")
        if self.augment != NO_AUGMENTATION:
            find_policy(self.augment)


def add_network_flags(parser: argparse.ArgumentParser, default: NetworkSettings) -> None:
    """Adds a flag for each field of NetworkSettings."""
    parser.add_argument("--learning-rate", type=float, default=default.learning_rate, help="of Adam, after the warm-up")
    parser.add_argument(
        "--schedule", choices=SCHEDULES, default=default.schedule, help="cosine falls to zero at the last epoch"
    )
    parser.add_argument(
        "--warm-up-epochs",
        type=float,
        help=f"over which the learning rate rises (default: {default.warm_up_epochs:g}, at most half of the epochs)",
    )
    parser.add_argument("--train-epochs", type=positive(int), default=default.train_epochs, help="at most")
    parser.add_argument(
        "--patience",
        type=positive(int),
        default=default.patience,
        help="epochs without a better validation loss after which training stops; the best weights are kept",
    )
    parser.add_argument(
        "--ema-epochs",
        type=float,
        default=default.ema_epochs,
        help="measure and export the weights averaged over about so many epochs, exponentially; 0: the last ones",
    )
    parser.add_argument("--batch-size", type=positive(int), default=default.batch_size, help="images a step")
    parser.add_argument(
        "--augment",
        default=default.augment,
        metavar="POLICY[:STRENGTH]",
        help=f"{', '.join(POLICIES)} or {NO_AUGMENTATION}: what each training image undergoes anew in each epoch; "
        "texture:0.25 is a quarter of texture",
    )
    parser.add_argument("--dropout-rate", type=float, default=default.dropout_rate, help="before dense layers")
    parser.add_argument(
        "--l2-regularizer", type=float, default=default.l2_regularizer, help="factor of the kernels' squares"
    )
    parser.add_argument("--label-smoothing", type=float, default=default.label_smoothing, help="in [0, 1)")
    parser.add_argument(
        "--class-weights", default=default.class_weights, metavar="W", help="none, balanced, or label=weight,…"
    )
    parser.add_argument("--seed", type=int, default=default.seed, help="the same seed gives the same model")


def network_settings(flags: argparse.Namespace) -> NetworkSettings:
    """Returns the settings that the flags name.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """
    values = {field.name: getattr(flags, field.name) for field in dataclasses.fields(NetworkSettings)}
    if flags.warm_up_epochs is None:
        values["warm_up_epochs"] = min(NetworkSettings.warm_up_epochs, flags.train_epochs / 2)
    return NetworkSettings(**values)

"""How a head is fitted: the settings, and the flags that say them."""

from __future__ import annotations

import argparse
import dataclasses

from pipelines.options import positive
from pipelines.training.features import AUTO, LABELS_PER_IMAGE
from pipelines.training.mindiff import MinDiff
from pipelines.training.schedule import ANNEAL, CONSTANT, PLATEAU, SCHEDULES, Schedule
from pipelines.training.setting_ranges import check_ranges
from transforms.errors import OptionError

DIRECT, ADAM = "direct", "adam"
SOLVERS = (AUTO, DIRECT, ADAM)
"""``direct`` is for the plain head without MinDiff, with numpy alone; ``adam`` is Keras' and fits every head."""

FEW_EXAMPLES = 20_000
"""Up to this many training examples a regulariser is sought by folds: one split alone would be too few."""

DIRECT_RATE, MANY_RATE, ADAM_RATE = 0.001, 0.004, 0.0005
"""Learning rates by default; MANY_RATE is for ``anneal``, which lowers it soon."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a head is fitted.

    Attributes:
      dropout_rate: share of a layer's inputs that a training step sets to zero, in [0, 1).
      l2_regularizer: factor of the weights' squares in the loss; None finds it, see fit_head.
      label_smoothing: share of a target spread over all classes, in [0, 1).
      learning_rate: of the first pass; None is MANY_RATE for ``anneal``, else DIRECT_RATE or ADAM_RATE, after the
        solver.
      learning_rate_schedule: one of SCHEDULES, or ``auto``: for the direct solver beyond FEW_EXAMPLES, whose held-out
        loss is steady, ``anneal``, or ``plateau`` from a given learning rate; else constant.
      train_epochs: passes over the training split, at most.
      batch_size: examples a step, at most; a pass has eight steps at least.
      class_weights: ``none``, ``balanced``, or ``label=weight,…``.
      hidden_units: widths of ReLU layers before the softmax; none is a linear head.
      patience: epochs without a better validation loss after which training stops.
      labels_per_image: ``one`` for a softmax, ``several`` for a sigmoid a label, ``auto`` for what the data has.
      solver: one of SOLVERS; ``auto`` is direct for a head without hidden layers and dropout.
      seed: of the shuffling, the dropout and the initial weights of hidden layers.
      mindiff: a further term of the loss, None for none.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """

    dropout_rate: float = 0.0
    l2_regularizer: float | None = None
    label_smoothing: float = 0.0
    learning_rate: float | None = None
    learning_rate_schedule: str = AUTO
    train_epochs: int = 100
    batch_size: int = 1024
    class_weights: str = "none"
    hidden_units: tuple[int, ...] = ()
    patience: int = 10
    labels_per_image: str = AUTO
    solver: str = AUTO
    seed: int = 0
    mindiff: MinDiff | None = None

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.l2_regularizer is not None and not 0 <= self.l2_regularizer < float("inf"):
            raise OptionError(f"--l2-regularizer must be auto, 0 or positive, got {self.l2_regularizer}")
        if any(units < 1 for units in self.hidden_units):
            raise OptionError(f"--hidden-units must be positive, got {','.join(map(str, self.hidden_units))}")
        if self.solver == DIRECT and (self.hidden_units or self.dropout_rate):
            flag = "--hidden-units" if self.hidden_units else "--dropout-rate"
            raise OptionError(f"--solver direct fits the plain head only; leave out {flag}, or say --solver adam")
        if self.solver == DIRECT and self.mindiff:
            raise OptionError("--solver direct knows no --mindiff; leave --solver out, or say --solver adam")

    @property
    def plain(self) -> bool:
        """Whether the direct solver fits the head."""
        further = self.hidden_units or self.dropout_rate or self.mindiff
        return self.solver == DIRECT or (self.solver == AUTO and not further)

    @property
    def rate(self) -> float:
        """The learning rate of the first pass where it does not anneal."""
        return self.learning_rate or (DIRECT_RATE if self.plain else ADAM_RATE)

    def first_rate(self, examples: int) -> float:
        """Returns the learning rate of the first pass with so many examples."""
        anneals = self.schedule(examples).name == ANNEAL
        return MANY_RATE if anneals and self.learning_rate is None else self.rate

    def schedule(self, examples: int) -> Schedule:
        """Returns how the learning rate moves with so many examples, and when training stops."""
        name = self.learning_rate_schedule
        if name == AUTO:
            many = PLATEAU if self.learning_rate else ANNEAL
            name = many if self.plain and examples > FEW_EXAMPLES else CONSTANT
        return Schedule(name=name, epochs=self.train_epochs, patience=self.patience)


def add_fit_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each field of FitSettings."""
    default = FitSettings()
    parser.add_argument("--dropout-rate", type=float, default=default.dropout_rate, help="in [0, 1)")
    parser.add_argument(
        "--l2-regularizer",
        default=AUTO,
        metavar="L2",
        help="factor of the weights' squares in the loss; auto finds it on held-out examples",
    )
    parser.add_argument("--label-smoothing", type=float, default=default.label_smoothing, help="in [0, 1)")
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
    _add_solver_flags(parser, default)
    parser.add_argument("--seed", type=int, default=default.seed, help="the same seed gives the same model")


def _add_solver_flags(parser: argparse.ArgumentParser, default: FitSettings) -> None:
    """Adds the flags of how the loss is brought down."""
    parser.add_argument(
        "--learning-rate",
        type=float,
        metavar="X",
        help=f"of the first pass (default: {MANY_RATE:g} where it anneals, else {DIRECT_RATE:g} of the direct solver, "
        f"{ADAM_RATE:g} of adam)",
    )
    parser.add_argument(
        "--learning-rate-schedule",
        choices=(AUTO, *SCHEDULES),
        default=default.learning_rate_schedule,
        help="cosine falls to zero over all passes, plateau falls when a pass has gained nothing, anneal from a high "
        "rate the faster the less a pass gains; "
        f"auto is anneal (with --learning-rate plateau) for the direct solver beyond {FEW_EXAMPLES:,} examples, else "
        "constant",
    )
    parser.add_argument(
        "--patience",
        type=positive(int),
        default=default.patience,
        help="passes without a lower validation loss after which training stops; the best weights are kept",
    )
    parser.add_argument(
        "--solver",
        choices=SOLVERS,
        default=default.solver,
        help="direct is fast and for heads without hidden layers and dropout, adam is Keras'",
    )
    parser.add_argument(
        "--train-epochs",
        type=positive(int),
        default=default.train_epochs,
        help="passes over the data, at most",
    )
    parser.add_argument("--batch-size", type=positive(int), default=default.batch_size, help="examples a step, at most")


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
        learning_rate_schedule=flags.learning_rate_schedule,
        patience=flags.patience,
        solver=flags.solver,
        train_epochs=flags.train_epochs,
        batch_size=flags.batch_size,
        class_weights=flags.class_weights,
        hidden_units=hidden_units(flags.hidden_units),
        labels_per_image=flags.labels_per_image,
        seed=flags.seed,
    )


def fit_arguments(settings: FitSettings) -> list[str]:
    """Returns the flags of what differs from the default, the inverse of fit_settings; --mindiff is a remedy's."""
    words: list[str] = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value != field.default and field.name != "mindiff":
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


def hidden_units(text: str) -> tuple[int, ...]:
    """Reads the widths of hidden layers, ``512,256``; an empty text is none.

    Raises:
      OptionError: they are no numbers.
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise OptionError(f"--hidden-units must be numbers such as 256 or 512,256, got {text!r}") from None

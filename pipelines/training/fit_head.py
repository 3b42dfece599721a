"""Fits a head on vectors: the regulariser is searched for, by folds when examples are few."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.training.class_weights import class_weights_of
from pipelines.training.dense_layers import CrossEntropy
from pipelines.training.features import Examples
from pipelines.training.fit_adam import AdamTrainer
from pipelines.training.fit_settings import FEW_EXAMPLES, FitSettings
from pipelines.training.mindiff import Constraint, positive_column
from pipelines.training.stack import HeadStack, Members, Rows, StackFit, Weights, row_weights
from pipelines.training.standardise import standardisation
from transforms.errors import OptionError
from transforms.model.head import Array, Head

L2_PATH = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4, 3e-5, 1e-5)
"""What ``--l2-regularizer auto`` tries, strongest first, until the held-out loss has risen twice."""

STRONGEST = 1000.0
"""Values above this, divided by the number of examples, are left out: much data needs little of it."""

_WORSE_IN_A_ROW = 2
_COLUMNS = 8192  # outputs of heads that are fitted side by side, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted head and how it came about.

    Attributes:
      head: of temperature 1.
      validation_loss: its cross-entropy on the validation split, weighted by class and row, in nats.
      epochs: passes over training examples, all attempts together.
      attempts: every regulariser that was tried, on every fold.
    """

    head: Head
    validation_loss: float
    epochs: int
    attempts: tuple[Attempt, ...]


class Attempt(NamedTuple):
    """One regulariser on one set of held-out examples.

    Attributes:
      fold: that was held out, -1 for the validation split.
      l2_regularizer: that was tried.
      held_out_loss: least cross-entropy on the held-out examples, in nats.
      epochs: that it took.
      kept: whether its weights are the best of the fold's.
    """

    fold: int
    l2_regularizer: float
    held_out_loss: float
    epochs: int
    kept: bool


Found = tuple[Weights, list[Attempt]]


def fit_head(
    train: Examples,
    validation: Examples,
    labels: Sequence[str],
    settings: FitSettings,
    folds: npt.NDArray[np.int64] | None = None,
) -> Fit:
    """Fits a head; the same arguments give the same weights.

    A given regulariser is trained until the validation loss stops falling, and the best weights are restored.
    To find one, L2_PATH is tried in the same manner. With few examples, a linear head and ``folds``, that
    is done once a fold, holding the fold out instead of the validation split, and the heads are averaged: an
    average of linear heads is a linear head, steadier than each, that has seen all of the training split. With MinDiff,
    whose two groups would be small in a fold, the validation split decides.

    Args:
      train: each class has at least one example.
      validation: not empty.
      labels: names of the classes.
      settings: see there.
      folds: ``int[N]``, the fold of each training example.

    Raises:
      OptionError: when class_weights do not fit the labels, or the learning rate is far too high.
    """
    class_weights = class_weights_of(train, labels, settings.class_weights)
    if train.several:
        train = train.known(len(labels))
    mean, std = standardisation(train.vectors)
    solver: _Solver
    if settings.plain:
        solver = _Direct(train, mean, std, class_weights, settings)
    else:
        solver = _Adam(train, mean, std, class_weights, settings, _constraint(train, labels, settings))
    few = len(train.targets) <= FEW_EXAMPLES
    deep = settings.hidden_units or settings.mindiff
    averaged = folds is not None and settings.l2_regularizer is None and not deep and few
    found = solver.search(folds) if averaged and folds is not None else [solver.search_held_out(validation)]
    attempts = [attempt for _, tried in found for attempt in tried]
    averages: Weights = [
        np.stack(arrays).mean(axis=0) for arrays in zip(*(weights for weights, _ in found), strict=True)
    ]
    head = Head(
        labels=tuple(labels),
        mean=mean,
        std=std,
        layers=tuple(zip(averages[::2], averages[1::2], strict=True)),
        activation="sigmoid" if train.several else "softmax",
    )
    return Fit(
        head=head,
        validation_loss=weighted_loss(head, validation, class_weights),
        epochs=sum(attempt.epochs for attempt in attempts),
        attempts=tuple(attempts),
    )


def _constraint(train: Examples, labels: Sequence[str], settings: FitSettings) -> Constraint | None:
    if settings.mindiff is None:
        return None
    return Constraint(settings.mindiff, positive_column(labels, settings.mindiff.label), train)


def weighted_loss(head: Head, examples: Examples, class_weights: Array) -> float:
    """Returns the cross-entropy in nats, weighted by class and row."""
    logits = head.logits(examples.vectors).astype(np.float64)[:, None, :]
    loss = CrossEntropy(several=examples.several, smoothing=0.0)
    losses, counted = loss.losses(logits, examples.targets, class_weights[None])
    weights = row_weights(examples)[:, None]
    return float((losses * weights).sum() / (counted * weights).sum())


class _Solver(Protocol):
    """What finds the regulariser with the least held-out loss, and the weights that have it."""

    def search(self, folds: Rows) -> list[Found]:
        """Holds each fold out in turn; returns what was found for each."""

    def search_held_out(self, held_out: Examples) -> Found:
        """Trains on all examples and measures on others."""


class _Direct:
    """The plain head: all regularisers, and folds, side by side; each vector is read once a pass."""

    def __init__(self, train: Examples, mean: Array, std: Array, class_weights: Array, settings: FitSettings) -> None:
        self._train, self._mean, self._std = train, mean, std
        self._class_weights, self._settings = class_weights, settings

    def search(self, folds: Rows) -> list[Found]:
        numbers = np.unique(folds)
        path = l2_path(self._settings, len(folds))
        together = max(1, _COLUMNS // (len(path) * len(self._class_weights)))
        found: list[Found] = []
        for start in range(0, len(numbers), together):
            found += self._fit(self._train, path, numbers[start : start + together], folds)
        return found

    def search_held_out(self, held_out: Examples) -> Found:
        path = l2_path(self._settings, len(self._train.targets))
        return self._fit(held_out, path, np.array([-1]), None)[0]

    def _fit(self, held_out: Examples, path: Sequence[float], numbers: Rows, folds: Rows | None) -> list[Found]:
        settings, heads = self._settings, len(path) * len(numbers)
        stack = HeadStack(
            self._train, held_out, self._mean, self._std, classes=len(self._class_weights), settings=settings
        )
        held = None if folds is None else np.repeat(folds[:, None] == numbers, len(path), axis=1)
        members = Members(
            l2=np.tile(np.array(path, np.float32), len(numbers)),
            rates=np.full(heads, settings.first_rate(len(self._train.targets)), np.float32),
            class_weights=np.tile(self._class_weights, (heads, 1)),
            used=None if held is None else ~held,
            held=held,
        )
        fit = stack.fit(members, settings.schedule(len(self._train.targets)))
        starts = range(0, heads, len(path))
        return [best_of(fit, path, settings, *own) for own in zip(starts, numbers.tolist(), strict=True)]


class _Adam:
    """Heads with dropout, hidden layers or MinDiff: one regulariser after the other, strongest first."""

    def __init__(
        self,
        train: Examples,
        mean: Array,
        std: Array,
        class_weights: Array,
        settings: FitSettings,
        constraint: Constraint | None,
    ) -> None:
        self._train, self._settings = train, settings
        self._trainer = AdamTrainer(train, mean, std, class_weights, settings, constraint)

    def search(self, folds: Rows) -> list[Found]:
        rows = np.arange(len(folds))
        return [
            self._follow(rows[folds != fold], self._train.take(rows[folds == fold]), fold)
            for fold in np.unique(folds).tolist()
        ]

    def search_held_out(self, held_out: Examples) -> Found:
        return self._follow(np.arange(len(self._train.targets)), held_out, -1)

    def _follow(self, rows: Rows, held_out: Examples, fold: int) -> Found:
        tried: list[Attempt] = []
        weights = best_weights = self._trainer.initial
        best, worse = np.inf, 0
        for l2 in l2_path(self._settings, len(rows)):
            loss, epochs, weights = self._trainer.run(l2, rows, held_out, weights)
            tried.append(Attempt(fold, l2, loss, epochs, kept=False))
            worse = worse + 1 if loss >= best else 0
            if loss < best:
                best, best_weights = loss, weights
            if worse == _WORSE_IN_A_ROW:
                break
        _check_finite(best, self._settings)
        kept = min(range(len(tried)), key=lambda index: tried[index].held_out_loss)
        tried[kept] = tried[kept]._replace(kept=True)
        return best_weights, tried


def l2_path(settings: FitSettings, rows: int) -> Sequence[float]:
    """Returns the regularisers to try with so many examples."""
    if settings.l2_regularizer is not None:
        return (settings.l2_regularizer,)
    return [l2 for l2 in L2_PATH if l2 * rows <= STRONGEST] or L2_PATH[-1:]


def best_of(fit: StackFit, path: Sequence[float], settings: FitSettings, first: int = 0, fold: int = -1) -> Found:
    """Returns the weights of the head with the least held-out loss among those of ``path``, and all attempts.

    Args:
      fit: of heads that lie side by side.
      path: the regulariser of each of them.
      settings: of all.
      first: the place of the first of them.
      fold: that was held out, -1 for the validation split.

    Raises:
      OptionError: no loss is finite.
    """
    losses, epochs = (array[first : first + len(path)] for array in (fit.losses, fit.epochs))
    _check_finite(float(losses.min()), settings)
    kept = int(losses.argmin())
    columns = zip(path, losses.tolist(), epochs.tolist(), strict=True)
    tried = [Attempt(fold, *column, index == kept) for index, column in enumerate(columns)]
    return fit.member(first + kept), tried


def _check_finite(loss: float, settings: FitSettings) -> None:
    if not np.isfinite(loss):
        raise OptionError(f"the loss became infinite at --learning-rate {settings.rate:g}; lower it")

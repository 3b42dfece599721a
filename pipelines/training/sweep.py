"""A sweep: many settings of a head tried on held-out examples, and the simplest good one picked."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.class_weights import class_weights_of
from pipelines.training.features import Examples, Splits, Targets, fold_numbers
from pipelines.training.fit_settings import FitSettings
from pipelines.training.stack import HeadStack, Members, Rows
from pipelines.training.stacked_adam import head_axis
from pipelines.training.standardise import standardisation
from pipelines.training.sweep_settings import ACCURACY, BALANCED, LOSS, SWEPT, SweepSettings
from pipelines.training.team import Team
from transforms.errors import OptionError
from transforms.machine.cores import usable_cores
from transforms.model.head import Array

_COLUMNS = 4096  # of the first layers of all heads that are fitted side by side, at most
_NARROW = 256  # columns up to which folds are fitted side by side too, though each row is then gone through for all


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration.

    Attributes:
      settings: that were tried.
      score: mean over the held-out examples of the loss in nats, or of the share that is wrong; less is better.
      standard_error: of that mean.
      epochs: passes until the least held-out loss, the mean of the folds.
    """

    settings: FitSettings
    score: float
    standard_error: float
    epochs: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep found.

    Attributes:
      trials: in the order they were asked for.
      best: index of the least score.
      chosen: index of the simplest within one standard error of it.
      examples: that were held out, altogether.
      sweep: the settings of the search.
      seconds: that it took.
    """

    trials: tuple[Trial, ...]
    best: int
    chosen: int
    examples: int
    sweep: SweepSettings
    seconds: float

    def rows(self) -> list[dict[str, Any]]:
        """Returns a row for each trial, best first; ``pick`` marks the best and the chosen one."""
        names = [name.replace("-", "_") for name in SWEPT]
        picks = {self.best: "best"} | {self.chosen: "chosen" if self.chosen != self.best else "best, chosen"}
        order = sorted(range(len(self.trials)), key=lambda index: self.trials[index].score)
        return [
            {
                "rank": rank + 1,
                **{name: _shown(name, self.trials[index].settings) for name in names},
                self.sweep.measure: _of_score(self.trials[index].score, self.sweep.measure),
                "standard_error": self.trials[index].standard_error,
                "epochs": self.trials[index].epochs,
                "pick": picks.get(index, ""),
            }
            for rank, index in enumerate(order)
        ]

    def to_json(self) -> dict[str, Any]:
        """What metrics.json says of it; every trial is in sweep.csv."""
        rows = self.rows()
        return {
            **{field: getattr(self.sweep, field) for field in ("search", "measure", "folds")},
            "configurations": len(rows),
            "held_out_examples": self.examples,
            "seconds": round(self.seconds, 3),
            "best": rows[0],
            "chosen": next(row for row in rows if "chosen" in row["pick"]),
            "shown": rows[:10],
        }

    def to_csv(self) -> bytes:
        """Every trial, best first."""
        rows, text = self.rows(), io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()


def run_sweep(splits: Splits, validation: Examples, base: FitSettings, sweep: SweepSettings) -> Sweep:
    """Tries every configuration; heads of one shape and dropout are fitted side by side.

    Args:
      splits: of which the training split is used.
      validation: rows of known labels, on which is measured without folds.
      base: what is the same for all.
      sweep: what to try. Rows of one group or content are never in two folds.

    Raises:
      OptionError: a configuration that cannot be, or a measure that is not for several labels.
    """
    started = time.monotonic()
    train = splits.train.known(len(splits.labels))
    if train.several and sweep.measure == BALANCED:
        raise OptionError("--sweep-measure balanced-accuracy is for one label an image; use loss or accuracy")
    configurations = sweep.configure(base)
    folds = fold_numbers(train.targets, splits.keys, sweep.folds) if sweep.folds else None
    runner = _Runner(train, train if folds is not None else validation, splits.labels, folds, sweep.measure)
    trials = tuple(runner.run(configurations))
    best, chosen = pick(trials)
    return Sweep(
        trials=trials,
        best=best,
        chosen=chosen,
        examples=runner.held_out,
        sweep=sweep,
        seconds=time.monotonic() - started,
    )


def pick(trials: Sequence[Trial]) -> tuple[int, int]:
    """Returns the trial with the least score, and the simplest whose score is within one standard error of it.

    Fewer hidden units are simpler, then no class weights, then a stronger regulariser, more dropout and a smaller
    learning rate (the rule is that of L. Breiman et al., Classification and Regression Trees, 1984).

    Raises:
      OptionError: no score is finite.
    """
    finite = [index for index, trial in enumerate(trials) if math.isfinite(trial.score)]
    if not finite:
        raise OptionError("no configuration of the sweep has a finite loss; lower its learning rates")
    best = min(finite, key=lambda index: trials[index].score)
    limit = trials[best].score + trials[best].standard_error
    within = [index for index in finite if trials[index].score <= limit]
    return best, min(within, key=lambda index: (*_complexity(trials[index].settings), trials[index].score))


def _complexity(settings: FitSettings) -> tuple[float, ...]:
    weighted = settings.class_weights != "none"
    l2 = settings.l2_regularizer or 0.0
    return sum(settings.hidden_units), weighted, -l2, -settings.dropout_rate, settings.rate


class _Runner:
    """Fits configurations of one shape, and measures each on examples that it was not fitted on."""

    def __init__(
        self, train: Examples, held: Examples, labels: Sequence[str], folds: Rows | None, measure: str
    ) -> None:
        self._train, self._held, self._labels, self._folds, self._measure = train, held, labels, folds, measure
        self._numbers = [-1] if folds is None else np.unique(folds).tolist()
        self._mean, self._std = standardisation(train.vectors)
        self.held_out = len(held.targets)

    def run(self, configurations: Sequence[FitSettings]) -> list[Trial]:
        """Returns a trial for each configuration; each core fits other ones."""
        tasks = self._tasks(configurations)
        threads = max(1, usable_cores() // len(tasks))
        with Team() as team:
            found = team.map(
                lambda task: self._fit([configurations[index] for index in task[0]], task[1], threads), tasks
            )
        scores, epochs = np.empty((len(configurations), self.held_out)), np.zeros(len(configurations))
        for (indices, numbers), (parts, passes) in zip(tasks, found, strict=True):
            epochs[indices] += passes / len(self._numbers)
            for number, part in zip(numbers, parts, strict=True):
                scores[np.ix_(np.array(indices), self._rows(number))] = part
        errors = scores.std(axis=1) / math.sqrt(self.held_out)
        columns = zip(configurations, scores.mean(axis=1).tolist(), errors.tolist(), epochs.tolist(), strict=True)
        return [
            Trial(settings=settings, score=score, standard_error=error, epochs=passes)
            for settings, score, error, passes in columns
        ]

    def _tasks(self, configurations: Sequence[FitSettings]) -> list[tuple[list[int], list[int]]]:
        """Returns configurations of one shape, and folds, that are fitted side by side; the widest first."""
        tasks = []
        key = lambda index: (configurations[index].hidden_units, configurations[index].dropout_rate)  # noqa: E731
        for _, group in itertools.groupby(sorted(range(len(configurations)), key=key), key):
            indices = list(group)
            width = self._width(configurations[indices[0]])
            for chunk in _chunks(indices, _COLUMNS // width):
                columns = width * len(chunk)
                tasks += [(columns, chunk, numbers) for numbers in _chunks(self._numbers, _NARROW // columns)]
        return [(chunk, numbers) for _, chunk, numbers in sorted(tasks, key=lambda task: -task[0])]

    def _fit(
        self, configurations: Sequence[FitSettings], numbers: Sequence[int], threads: int
    ) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.int64]]:
        """Fits configurations without some folds; returns the scores of each fold's rows, and passes of all folds."""
        first, count = configurations[0], len(configurations)
        stack = HeadStack(
            self._train, self._held, self._mean, self._std, classes=len(self._labels), settings=first, threads=threads
        )
        fit = stack.fit(self._members(configurations, numbers), first.schedule(len(self._train.targets)))
        scores = []
        for place, number in enumerate(numbers):
            rows, own = self._rows(number), range(place * count, (place + 1) * count)
            weights = [array.take(own, axis=head_axis(layer)) for layer, array in enumerate(fit.weights)]
            logits, targets = stack.logits(weights, self._held.take(rows)), self._held.targets[rows]
            scores.append(np.stack([self._scores(logits[:, index], targets) for index in range(count)]))
        return scores, fit.epochs.reshape(len(numbers), count).sum(axis=0)

    def _rows(self, number: int) -> Rows:
        """Returns the held-out rows of a fold, of -1 all."""
        return np.arange(self.held_out) if self._folds is None else np.flatnonzero(self._folds == number)

    def _width(self, settings: FitSettings) -> int:
        return max(len(self._labels), *settings.hidden_units, 1)

    def _members(self, configurations: Sequence[FitSettings], numbers: Sequence[int]) -> Members:
        """Returns all configurations for the first fold, then for the next one."""
        parts, count = len(numbers), len(configurations)
        held = None if self._folds is None else np.repeat(self._folds[:, None] == numbers, count, axis=1)
        weights = [class_weights_of(self._train, self._labels, one.class_weights) for one in configurations]
        return Members(
            l2=np.tile(np.array([settings.l2_regularizer or 0.0 for settings in configurations], np.float32), parts),
            rates=np.tile(np.array([settings.rate for settings in configurations], np.float32), parts),
            class_weights=np.tile(np.stack(weights), (parts, 1)),
            used=None if held is None else ~held,
            held=held,
        )

    def _scores(self, logits: Array, targets: Targets) -> npt.NDArray[np.float64]:
        """Returns the loss of each held-out row, or whether it is wrong."""
        values = logits.astype(np.float64)
        if self._held.several:
            if self._measure == ACCURACY:
                return ((values > 0) != targets).any(axis=1).astype(np.float64)
            return (np.logaddexp(0, values) - values * targets).sum(axis=1)
        if self._measure == LOSS:
            return np.logaddexp.reduce(values, axis=1) - values[np.arange(len(values)), targets]
        wrong = (values.argmax(axis=1) != targets).astype(np.float64)
        if self._measure == BALANCED:
            counts = np.bincount(self._held.targets, minlength=len(self._labels))
            wrong *= self.held_out / (np.count_nonzero(counts) * counts[targets])
        return wrong


def _chunks(values: list[int], most: int) -> list[list[int]]:
    return [values[start : start + max(1, most)] for start in range(0, len(values), max(1, most))]


def _shown(name: str, settings: FitSettings) -> Any:
    if name == "hidden_units":
        return "x".join(map(str, settings.hidden_units)) or "0"
    return settings.rate if name == "learning_rate" else getattr(settings, name)


def _of_score(score: float, measure: str) -> float:
    return score if measure == LOSS else 1 - score

"""Heads trained side by side: one loop over the array in memory fits many that differ in their settings."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.dense_layers import CrossEntropy, backward, forward
from pipelines.training.features import Examples
from pipelines.training.fit_settings import FitSettings
from pipelines.training.schedule import Schedule
from pipelines.training.stacked_adam import StackedAdam, head_axis
from pipelines.training.team import Team
from transforms.model.head import Array

Rows = npt.NDArray[np.int64]
Batches = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Weights = list[Array]

LEAST_STEPS = 8
"""Of a pass: few examples are cut into smaller batches, or a pass would change next to nothing."""

_HELD_ROWS = 1024  # rows at a time while measuring
_LEAST_ROWS = 64  # of a batch that are worth a thread of their own
_GRADIENTS = 2**27  # numbers that the threads' gradients may have, altogether
_GOING = 0.75  # share of the heads that are not done, at which the others are taken out


@dataclasses.dataclass(frozen=True, kw_only=True)
class Members:
    """M heads that differ in these; what they share is an argument of HeadStack.

    Attributes:
      l2: ``float32[M]``, factor of the squares of each one's weights.
      rates: ``float32[M]``, learning rates.
      class_weights: ``float32[M, C]``.
      used: ``bool[N, M]``, the rows each one is fitted on; None for all.
      held: ``bool[H, M]``, the held-out rows each one is measured on; None for all.
    """

    l2: Array
    rates: Array
    class_weights: Array
    used: Mask | None = None
    held: Mask | None = None

    def take(self, chosen: npt.NDArray[np.int64]) -> Members:
        """Returns some of the members."""
        used, held = (None if mask is None else mask[:, chosen] for mask in (self.used, self.held))
        return Members(
            l2=self.l2[chosen],
            rates=self.rates[chosen],
            class_weights=self.class_weights[chosen],
            used=used,
            held=held,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StackFit:
    """What came of M heads.

    Attributes:
      losses: ``float64[M]``, least held-out loss of each, in nats.
      epochs: ``int64[M]``, the passes after which each one had it.
      passes: passes that were made, by all.
      weights: kernel and bias of each layer, with a dimension for the member; of the least loss.
    """

    losses: npt.NDArray[np.float64]
    epochs: npt.NDArray[np.int64]
    passes: int
    weights: Weights

    def member(self, index: int) -> Weights:
        """Returns kernel and bias of each layer of one head."""
        first = [self.weights[0][:, index], self.weights[1][index]]
        return [*first, *(array[index] for array in self.weights[2:])]


class HeadStack:
    """M heads of one shape, as arrays with a dimension for the member.

    The first layers of all heads are one matrix product, so each vector is read once a pass for all of them. The
    heads see the batches in the same order and drop the same inputs, so that each is what it would be alone.

    Args:
      train: vectors are used where they lie, standardised a batch at a time.
      held: examples to measure on; may be ``train``.
      mean: of the columns.
      std: of the columns.
      classes: number of them.
      settings: hidden units, dropout, label smoothing, batch size and seed are of all heads.
      threads: that share the rows of a batch; None for as many as there are cores.
    """

    def __init__(
        self,
        train: Examples,
        held: Examples,
        mean: Array,
        std: Array,
        *,
        classes: int,
        settings: FitSettings,
        threads: int | None = None,
    ) -> None:
        self._train, self._held, self._settings, self._threads = train, held, settings, threads
        self._mean, self._scale = mean, np.reciprocal(std)
        self._widths = (len(mean), *settings.hidden_units, classes)
        self._loss = CrossEntropy(several=train.several, smoothing=settings.label_smoothing)

    def fit(self, members: Members, schedule: Schedule, refill: Callable[[], Iterable[Rows]] | None = None) -> StackFit:
        """Fits the heads until the held-out loss of none falls any more; the best weights of each are kept.

        Rows that no head uses are not gone through, and heads that are done are taken out, some at a time.

        Args:
          members: the M heads.
          schedule: how the learning rate moves, and when to stop.
          refill: called for each pass; puts examples into the arrays of ``train``, again and again, and gives
            their rows each time. By default a pass goes through the rows that are there, once.
        """
        count, settings = len(members.l2), self._settings
        weights = self._start(count)
        adam = StackedAdam(weights)
        used, held = _rows(members.used, len(self._train.targets)), _rows(members.held, len(self._held.targets))
        generator, course = np.random.default_rng(settings.seed), schedule.start(count)
        dropout = Dropout(settings.dropout_rate, self._widths[:-1], settings.seed)
        inside, still = np.arange(count), members
        with Team(self._threads) as team:
            while not course.finished:
                for rows in (used,) if refill is None else refill():
                    batches = order_of_rows(rows, settings.batch_size, generator)
                    self._go_through(batches, adam, still, course.factors[inside], dropout, team)
                losses = np.full(count, np.inf)
                losses[inside] = self._measure(held, adam.variables, still, team)
                better = course.see(losses)[inside]
                for place, array in enumerate(weights):
                    of_heads, found = (
                        np.moveaxis(each, head_axis(place), 0) for each in (array, adam.variables[place])
                    )
                    of_heads[inside[better]] = found[better]
                going = course.going[inside]
                if going.mean() <= _GOING:
                    inside, still = inside[going], members.take(inside[going])
                    adam.take(np.flatnonzero(going))
        return StackFit(losses=course.losses, epochs=course.best, passes=course.passes, weights=weights)

    def logits(self, weights: Weights, examples: Examples | None = None) -> Array:
        """Returns the logits of the held-out rows, or of other examples, ``float32[H, M, C]``."""
        vectors = (self._held if examples is None else examples).vectors
        logits = np.empty((len(vectors), *weights[-1].shape), np.float32)
        for start in range(0, len(vectors), _HELD_ROWS):
            own = slice(start, start + _HELD_ROWS)
            logits[own] = forward(weights, (vectors[own] - self._mean) * self._scale)[-1]
        return logits

    def _start(self, count: int) -> Weights:
        """Zeros in the last layer, He's normal distribution in the others, the same for every head."""
        weights: Weights = []
        for index, (inputs, units) in enumerate(itertools.pairwise(self._widths)):
            last = index == len(self._widths) - 2
            generator = np.random.default_rng([self._settings.seed, index])
            kernel = np.zeros((inputs, units)) if last else generator.normal(0, np.sqrt(2 / inputs), (inputs, units))
            one = np.expand_dims(kernel, head_axis(2 * index)).astype(np.float32)
            weights += [one.repeat(count, head_axis(2 * index)), np.zeros((count, units), np.float32)]
        return weights

    def _go_through(
        self, batches: Batches, adam: StackedAdam, members: Members, factors: Array, dropout: Dropout, team: Team
    ) -> None:
        """One pass over rows in a given order; each thread takes a part of a batch."""
        rooms = max(1, _GRADIENTS // sum(array.size for array in adam.variables))
        parts = min(team.size, rooms, -(-batches.shape[1] // _LEAST_ROWS))
        cuts = [round(part * batches.shape[1] / parts) for part in range(parts + 1)]
        own = [slice(*ends) for ends in itertools.pairwise(cuts)]
        inputs = [np.empty((part.stop - part.start, self._widths[0]), np.float32) for part in own]
        gradients = [[np.empty_like(array) for array in adam.variables] for _ in own]
        rates = members.rates * factors

        def learn(part: int) -> None:
            rows, kept = batch[own[part]], [mask[own[part]] for mask in masks]
            with np.errstate(all="ignore"):  # a rate that is too high is told by the loss
                layers = forward(adam.variables, self._standardised(rows, inputs[part], kept), kept[1:])
                counted = counts[own[part]] / whole
                delta = self._loss.gradient(layers.pop(), self._train.targets[rows], members.class_weights, counted)
                backward(adam.variables, layers, delta, dropout.scale, gradients[part])

        for batch in batches:
            masks = dropout.draw(len(batch))
            counts = _counts(members.used, batch)
            whole = np.maximum(counts.sum(axis=0), 1)
            if self._train.weights is not None:
                counts = counts * self._train.weights[batch, None]
            team.map(learn, range(parts))
            with np.errstate(all="ignore"):
                adam.step(gradients, rates, members.l2, team)

    def _standardised(self, rows: npt.NDArray[np.int32], out: Array, masks: Sequence[Array]) -> Array:
        """Puts the vectors of training rows into ``out``, standardised, some of the numbers dropped."""
        np.take(self._train.vectors, rows, axis=0, out=out, mode="clip")  # else numpy would fill a copy first
        out -= self._mean
        out *= self._scale
        for mask in masks[:1]:
            out *= mask
        return out

    def _measure(
        self, rows: npt.NDArray[np.int32], weights: Weights, members: Members, team: Team
    ) -> npt.NDArray[np.float64]:
        """Returns the mean loss of each head over held-out rows."""
        held = self._held

        def part(start: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
            own = rows[start : start + _HELD_ROWS]
            with np.errstate(all="ignore"):
                logits = forward(weights, (held.vectors[own] - self._mean) * self._scale)[-1]
                losses, counted = self._loss.losses(logits, held.targets[own], members.class_weights)
                counts = _counts(members.held, own)
                if held.weights is not None:
                    counts = counts * held.weights[own, None]
                sums = [(values * counts).sum(axis=0, dtype=np.float64) for values in (losses, counted)]
            return sums[0], sums[1]

        losses, counted = zip(*team.map(part, range(0, len(rows), _HELD_ROWS)), strict=True)
        with np.errstate(all="ignore"):
            return sum(losses) / sum(counted)


class Dropout:
    """Which inputs of each layer a step leaves out, the same for all heads.

    Args:
      rate: share that is left out, in [0, 1); rounded to 1 / 65,536.
      widths: of the inputs of each layer.
      seed: of the draws.

    Attributes:
      scale: what the inputs that are left are multiplied by.
    """

    def __init__(self, rate: float, widths: Sequence[int], seed: int) -> None:
        self._limit = min(round(rate * 2**16), 2**16 - 1)
        self._widths, self._bits = widths, np.random.SFC64([seed, 1])
        self.scale = 2**16 / (2**16 - self._limit)

    def draw(self, rows: int) -> list[Array]:
        """Returns ``float32[rows, width]`` for each layer, of zeros and ``scale``; nothing when nothing is left out."""
        if not self._limit:
            return []
        masks = []
        for width in self._widths:
            bits = self._bits.random_raw(-(-rows * width // 4)).view(np.uint16)[: rows * width]
            masks.append((bits.reshape(rows, width) >= self._limit) * np.float32(self.scale))
        return masks


def _counts(mask: Mask | None, rows: npt.NDArray[np.int32]) -> Array:
    """Returns how much each row counts for each head, ``float32[B, M]``, or ``[B, 1]`` when all do for all."""
    return np.ones((len(rows), 1), np.float32) if mask is None else mask[rows].astype(np.float32)


def _rows(mask: Mask | None, count: int) -> npt.NDArray[np.int32]:
    """Returns the rows that any head has in a mask."""
    return np.flatnonzero(np.ones(count) if mask is None else mask.any(axis=1)).astype(np.int32)


def row_weights(examples: Examples) -> Array:
    """Returns how much each row counts in the loss, ``float32[N]``."""
    return np.ones(len(examples.targets), np.float32) if examples.weights is None else examples.weights


def order_of_rows(
    rows: npt.NDArray[np.integer[Any]], batch: int, generator: np.random.Generator
) -> npt.NDArray[np.int32]:
    """Row numbers ``int32[steps, batch]`` of one pass; the last batch is filled from the first."""
    batch = min(batch, -(-len(rows) // LEAST_STEPS))
    steps = -(-len(rows) // batch)
    return np.resize(generator.permutation(rows), (steps, batch)).astype(np.int32)

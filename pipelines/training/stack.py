"""Heads trained side by side: one compiled loop over the array in memory fits many that differ in their settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.features import Examples
from pipelines.training.fit_settings import FitSettings
from pipelines.training.schedule import Schedule
from pipelines.training.stacked_adam import StackedAdam, along_heads, head_axis
from transforms.encoders.tensorflow_runtime import import_tensorflow
from transforms.model.head import Array
from transforms.store.read import ALIGNMENT

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Weights = list[Array]

LEAST_STEPS = 8
"""Of a pass: few examples are cut into smaller batches, or a pass would change next to nothing."""

_HELD_ROWS = 4096  # rows at a time while measuring
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
    """M heads of one shape, as variables with a dimension for the member.

    The first layers of all heads are one matrix product, so each vector is read once a pass for all of them. The
    heads see the batches in the same order and drop the same inputs, so that each is what it would be alone.

    Args:
      train: vectors are used where they lie, standardised a batch at a time.
      held: examples to measure on; may be ``train``.
      mean: of the columns.
      std: of the columns.
      classes: number of them.
      settings: hidden units, dropout, label smoothing, batch size and seed are of all heads.
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
    ) -> None:
        self._tf = import_tensorflow()
        self._several, self._classes = train.several, classes
        self._train = (share(train.vectors), share(train.targets))
        same = held is train
        self._held = self._train if same else (share(held.vectors), self._tf.constant(held.targets))
        self._train_weights, self._held_weights = (
            None if part.weights is None else self._tf.constant(part.weights[:, None]) for part in (train, held)
        )
        self._mean, self._scale = self._tf.constant(mean), self._tf.constant(1 / std)
        self._widths = (len(mean), *settings.hidden_units, classes)
        self._dropout, self._smoothing = settings.dropout_rate, settings.label_smoothing
        self._batch, self._seed = settings.batch_size, settings.seed
        self._rows, self._held_rows = len(train.targets), len(held.targets)
        self._adam: StackedAdam | None = None

    def fit(self, members: Members, schedule: Schedule, refill: Callable[[], Iterable[Rows]] | None = None) -> StackFit:
        """Fits the heads until the held-out loss of none falls any more; the best weights of each are kept.

        Rows that no head uses are not gone through, and heads that are done are taken out, some at a time.

        Args:
          members: the M heads.
          schedule: how the learning rate moves, and when to stop.
          refill: called for each pass; puts examples into the arrays of ``train``, again and again, and gives
            their rows each time. By default a pass goes through the rows that are there, once.
        """
        weights = self._start(len(members.l2))
        adam = self._begin(weights)
        used, held = _rows(members.used, self._rows), _rows(members.held, self._held_rows)
        generator, course = np.random.default_rng(self._seed), schedule.start(len(members.l2))
        inside, kept = np.arange(len(members.l2)), [self._tf.constant(array) for array in weights]
        passing, measuring = self._arguments(members)
        while not course.finished:
            for rows in (used,) if refill is None else refill():
                rates = (members.rates * course.factors)[inside]
                self._epoch(order_of_rows(rows, self._batch, generator), rates, *passing)
            losses = np.full(len(members.l2), np.inf)
            losses[inside] = self._measure(held, *measuring).numpy()
            kept = self._keep(course.see(losses)[inside], kept)
            going = course.going[inside]
            if going.mean() <= _GOING or course.finished:
                for place, array in enumerate(kept):
                    weights[place][(slice(None),) * head_axis(place) + (inside,)] = array
                inside, chosen = inside[going], np.flatnonzero(going)
                kept = [self._tf.gather(array, chosen, axis=head_axis(place)) for place, array in enumerate(kept)]
                adam.take(chosen)
                passing, measuring = self._arguments(members.take(inside))
        return StackFit(losses=course.losses, epochs=course.best, passes=course.passes, weights=weights)

    def logits(self, weights: Weights, examples: Examples | None = None) -> Array:
        """Returns the logits of the held-out rows, or of other examples, ``float32[H, M, C]``."""
        vectors = self._held[0] if examples is None else share(examples.vectors)
        tensors = [self._tf.constant(array) for array in weights]
        starts = range(0, len(vectors), _HELD_ROWS)
        parts = [self._forward(tensors, self._standardised(vectors[start : start + _HELD_ROWS])) for start in starts]
        return np.concatenate([part.numpy() for part in parts])

    def _start(self, count: int) -> Weights:
        """Zeros in the last layer, He's normal distribution in the others, the same for every head."""
        weights: Weights = []
        for index, (inputs, units) in enumerate(zip(self._widths, self._widths[1:], strict=False)):
            last = index == len(self._widths) - 2
            generator = np.random.default_rng([self._seed, index])
            kernel = np.zeros((inputs, units)) if last else generator.normal(0, np.sqrt(2 / inputs), (inputs, units))
            one = np.expand_dims(kernel, head_axis(2 * index)).astype(np.float32)
            weights += [one.repeat(count, head_axis(2 * index)), np.zeros((count, units), np.float32)]
        return weights

    def _begin(self, weights: Weights) -> StackedAdam:
        """Puts the weights where the compiled passes find them, which are compiled once."""
        if self._adam is None:
            self._adam = StackedAdam(weights)
            self._epoch, self._measure = self._compile_epoch(self._adam), self._compile_measure(self._adam)
        self._adam.start(weights)
        return self._adam

    def _arguments(self, members: Members) -> tuple[list[Any], list[Any]]:
        """Returns what the compiled pass and the compiled measurement need to know of the heads."""
        masks = [
            self._tf.constant(np.ones((rows, 1), np.bool_) if mask is None else mask)
            for mask, rows in ((members.used, self._rows), (members.held, self._held_rows))
        ]
        return [members.l2, members.class_weights, masks[0]], [members.class_weights, masks[1]]

    def _keep(self, better: Mask, kept: list[Any]) -> list[Any]:
        """Returns the weights of the heads that are better, of the others those that were kept."""
        tf, adam = self._tf, self._adam
        if adam is None or not better.any():
            return kept
        pairs = zip(kept, adam.variables, strict=True)
        return [
            tf.where(along_heads(tf, better, place, array), variable, array)
            for place, (array, variable) in enumerate(pairs)
        ]

    def _standardised(self, vectors: Any) -> Any:
        return (vectors - self._mean) * self._scale

    def _forward(self, weights: list[Any], inputs: Any, seed: Any = None) -> Any:
        """Maps ``[B, D]`` to logits ``[B, M, C]``; drops inputs when there is a seed."""
        tf = self._tf
        kernel = tf.reshape(weights[0], (self._widths[0], -1))
        values = tf.reshape(self._drop(inputs, seed, 0) @ kernel, (-1, *_shape(tf, weights[1]))) + weights[1]
        for layer in range(1, len(self._widths) - 1):
            values = self._drop(tf.nn.relu(values), seed, layer)
            values = tf.einsum("bmh,mhc->bmc", values, weights[2 * layer]) + weights[2 * layer + 1]
        return values

    def _drop(self, values: Any, seed: Any, layer: int) -> Any:
        if seed is None or not self._dropout:
            return values
        tf = self._tf
        shape = (tf.shape(values)[0], values.shape[-1])
        kept = tf.random.stateless_uniform(shape, tf.stack([seed, layer])) >= self._dropout
        mask = tf.cast(kept, tf.float32) / (1 - self._dropout)
        return values * (mask if layer == 0 else mask[:, None, :])

    def _losses(self, logits: Any, targets: Any, class_weights: Any, smoothing: float) -> tuple[Any, Any]:
        """Returns losses and weights, ``[B, M]`` each, of ``[B, M, C]`` logits."""
        tf = self._tf
        if self._several:
            spread = tf.cast(targets, tf.float32)[:, None, :] * (1 - smoothing) + smoothing / 2
            spread = tf.broadcast_to(spread, tf.shape(logits))
            losses = tf.nn.weighted_cross_entropy_with_logits(spread, logits, class_weights[None])
            summed = tf.reduce_sum(losses, axis=2)
            return summed, tf.ones_like(summed)
        picked = tf.reduce_sum(logits * tf.one_hot(targets, self._classes)[:, None, :], axis=2)
        log_sum = tf.reduce_logsumexp(logits, axis=2)
        losses = log_sum - (1 - smoothing) * picked
        if smoothing:
            losses -= smoothing * tf.reduce_mean(logits, axis=2)
        weights = tf.transpose(tf.gather(class_weights, targets, axis=1))
        return losses * weights, weights

    def _compile_epoch(self, adam: StackedAdam) -> Any:
        """Returns one pass over rows in a given order."""
        tf = self._tf
        vectors, targets = self._train
        heads = [tf.TensorSpec([None])] * 2 + [
            tf.TensorSpec([None, self._classes]),
            tf.TensorSpec([None, None], tf.bool),
        ]

        def step(rows: Any, rates: Any, l2: Any, class_weights: Any, used: Any) -> None:
            seed = tf.cast(adam.steps, tf.int32) + 1 + self._seed
            inputs, wanted = self._standardised(tf.gather(vectors, rows)), tf.gather(targets, rows)
            mask = tf.cast(tf.gather(used, rows), tf.float32)
            counted = mask if self._train_weights is None else mask * tf.gather(self._train_weights, rows)
            with tf.GradientTape() as tape:
                logits = self._forward(adam.variables, inputs, seed)
                losses, _ = self._losses(logits, wanted, class_weights, self._smoothing)
                mean = tf.reduce_sum(losses * counted, axis=0) / tf.maximum(tf.reduce_sum(mask, axis=0), 1)
                loss = tf.reduce_sum(mean)
            adam.step(tape.gradient(loss, adam.variables), rates, l2)

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), *heads], autograph=False)
        def epoch(order: Any, *arguments: Any) -> None:
            def body(number: Any) -> tuple[Any]:
                step(order[number], *arguments)
                return (number + 1,)

            tf.while_loop(lambda number: number < tf.shape(order)[0], body, [tf.constant(0)])

        return epoch

    def _compile_measure(self, adam: StackedAdam) -> Any:
        """Returns what gives the mean loss of each head over held-out rows."""
        tf = self._tf
        vectors, targets = self._held
        heads = [tf.TensorSpec([None, self._classes]), tf.TensorSpec([None, None], tf.bool)]

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32), *heads], autograph=False)
        def measure(rows: Any, class_weights: Any, held: Any) -> Any:
            def body(start: Any, total: Any, weight: Any) -> tuple[Any, Any, Any]:
                block = rows[start : start + _HELD_ROWS]
                logits = self._forward(adam.variables, self._standardised(tf.gather(vectors, block)))
                losses, weights = self._losses(logits, tf.gather(targets, block), class_weights, 0.0)
                mask = tf.cast(tf.gather(held, block), tf.float32)
                if self._held_weights is not None:
                    mask *= tf.gather(self._held_weights, block)
                total += tf.reduce_sum(losses * mask, axis=0)
                weight += tf.reduce_sum(weights * mask, axis=0)
                return start + _HELD_ROWS, total, weight

            nothing = tf.zeros((tf.shape(class_weights)[0],))
            _, total, weight = tf.while_loop(
                lambda start, *_: start < tf.size(rows), body, [tf.constant(0), nothing, nothing]
            )
            return total / weight

        return measure


def _rows(mask: Mask | None, count: int) -> npt.NDArray[np.int32]:
    """Returns the rows that any head has in a mask."""
    return np.flatnonzero(np.ones(count) if mask is None else mask.any(axis=1)).astype(np.int32)


def _shape(tf: Any, bias: Any) -> tuple[Any, int]:
    """Returns how many heads a bias has, and units each."""
    return tf.shape(bias)[0], bias.shape[1]


def share(array: npt.NDArray[Any]) -> Any:
    """Returns the array as a tensor, without copying one that lies as TensorFlow wants it."""
    tf = import_tensorflow()
    usable = array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % ALIGNMENT == 0
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__()) if usable and array.size else tf.constant(array)


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

"""Heads trained side by side: one compiled loop over the array in memory fits many that differ in their settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.features import Examples
from pipelines.training.schedule import Schedule
from transforms.encoders.tensorflow_runtime import import_tensorflow
from transforms.model.head import Array
from transforms.store.read import ALIGNMENT

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Weights = list[Array]

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7  # Adam's, as Keras has them
LEAST_STEPS = 8
"""Of a pass: few examples are cut into smaller batches, or a pass would change next to nothing."""

_HELD_ROWS = 4096  # rows at a time while measuring


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
      hidden: widths of the hidden layers.
      dropout: share of the inputs of each layer that a step sets to zero.
      smoothing: of the labels.
      batch: examples a step.
      seed: of order, dropout and the initial weights of hidden layers.
    """

    def __init__(
        self,
        train: Examples,
        held: Examples,
        mean: Array,
        std: Array,
        *,
        classes: int,
        hidden: tuple[int, ...] = (),
        dropout: float = 0.0,
        smoothing: float = 0.0,
        batch: int = 1024,
        seed: int = 0,
    ) -> None:
        self._tf = import_tensorflow()
        self._several, self._classes = train.several, classes
        self._train = (share(train.vectors), share(train.targets))
        same = held is train
        self._held = self._train if same else (share(held.vectors), self._tf.constant(held.targets))
        self._mean, self._scale = self._tf.constant(mean), self._tf.constant(1 / std)
        self._widths = (len(mean), *hidden, classes)
        self._dropout, self._smoothing, self._batch, self._seed = dropout, smoothing, batch, seed
        self._rows, self._held_rows = len(train.targets), len(held.targets)

    def fit(self, members: Members, schedule: Schedule, refill: Callable[[], Iterable[int]] | None = None) -> StackFit:
        """Fits the heads until the held-out loss of none falls any more; the best weights of each are kept.

        Args:
          members: the M heads.
          schedule: how the learning rate moves, and when to stop.
          refill: called for each pass; puts other rows into the arrays of ``train``, again and again, and gives
            their number each time. By default a pass goes through the rows that are there, once.
        """
        count = len(members.l2)
        variables = self._variables(count)
        kept = [self._tf.Variable(variable) for variable in variables]
        epoch = self._compile_epoch(members, variables)
        measure, keep = self._compile_measure(members, variables, kept)
        generator = np.random.default_rng(self._seed)
        course = schedule.start(count)
        while not course.finished:
            for rows in (self._rows,) if refill is None else refill():
                epoch(order_of_rows(np.arange(rows), self._batch, generator), course.factors)
            keep(course.see(measure().numpy().astype(np.float64)))
        weights = [np.array(variable) for variable in kept]
        return StackFit(losses=course.losses, epochs=course.best, passes=course.passes, weights=weights)

    def logits(self, weights: Weights, examples: Examples | None = None) -> Array:
        """Returns the logits of the held-out rows, or of other examples, ``float32[H, M, C]``."""
        vectors = self._held[0] if examples is None else share(examples.vectors)
        tensors = [self._tf.constant(array) for array in weights]
        starts = range(0, len(vectors), _HELD_ROWS)
        parts = [self._forward(tensors, self._standardised(vectors[start : start + _HELD_ROWS])) for start in starts]
        return np.concatenate([part.numpy() for part in parts])

    def _variables(self, count: int) -> list[Any]:
        """Zeros in the last layer, He's normal distribution in the others, the same for every head."""
        tf, variables = self._tf, []
        for index, (inputs, units) in enumerate(zip(self._widths, self._widths[1:], strict=False)):
            last = index == len(self._widths) - 2
            generator = np.random.default_rng([self._seed, index])
            kernel = np.zeros((inputs, units)) if last else generator.normal(0, np.sqrt(2 / inputs), (inputs, units))
            axis = 1 if index == 0 else 0
            kernel = np.repeat(np.expand_dims(kernel.astype(np.float32), axis), count, axis)
            variables += [tf.Variable(kernel), tf.Variable(tf.zeros((count, units)))]
        return variables

    def _standardised(self, vectors: Any) -> Any:
        return (vectors - self._mean) * self._scale

    def _forward(self, weights: list[Any], inputs: Any, seed: Any = None) -> Any:
        """Maps ``[B, D]`` to logits ``[B, M, C]``; drops inputs when there is a seed."""
        tf = self._tf
        count, units = weights[1].shape
        kernel = tf.reshape(weights[0], (self._widths[0], count * units))
        values = tf.reshape(self._drop(inputs, seed, 0) @ kernel, (-1, count, units)) + weights[1]
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

    def _compile_epoch(self, members: Members, variables: list[Any]) -> Any:
        """Returns one pass over rows in a given order, with a factor of the learning rate for each head: Adam."""
        tf = self._tf
        vectors, targets = self._train
        l2, rates, class_weights = (tf.constant(array) for array in (members.l2, members.rates, members.class_weights))
        used = None if members.used is None else tf.constant(members.used)
        firsts, seconds = ([tf.Variable(tf.zeros_like(variable)) for variable in variables] for _ in range(2))
        step = tf.Variable(0.0)

        def loss_of(rows: Any) -> Any:
            seed = tf.cast(step, tf.int32) + self._seed
            logits = self._forward(variables, self._standardised(tf.gather(vectors, rows)), seed)
            losses, _ = self._losses(logits, tf.gather(targets, rows), class_weights, self._smoothing)
            mask = tf.ones_like(losses) if used is None else tf.cast(tf.gather(used, rows), tf.float32)
            mean = tf.reduce_sum(losses * mask, axis=0) / tf.maximum(tf.reduce_sum(mask, axis=0), 1)
            squares = [_squares(tf, kernel, layer) for layer, kernel in enumerate(variables[::2])]
            return tf.reduce_sum(mean + l2 * tf.add_n(squares))

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([len(members.l2)])])
        def epoch(order: Any, factors: Any) -> None:
            for rows in order:
                step.assign_add(1.0)
                with tf.GradientTape() as tape:
                    loss = loss_of(rows)
                gradients = tape.gradient(loss, variables)
                rate = rates * factors * tf.sqrt(1 - _BETA_2**step) / (1 - _BETA_1**step)
                for place, (variable, gradient) in enumerate(zip(variables, gradients, strict=True)):
                    first = firsts[place].assign_add((gradient - firsts[place]) * (1 - _BETA_1))
                    second = seconds[place].assign_add((tf.square(gradient) - seconds[place]) * (1 - _BETA_2))
                    move = _along_members(tf, rate, place, variable) * first / (tf.sqrt(second) + _EPSILON)
                    variable.assign_sub(move)

        return epoch

    def _compile_measure(self, members: Members, variables: list[Any], kept: list[Any]) -> tuple[Any, Any]:
        """Returns the held-out loss of each head, and what keeps the weights of those that are better."""
        tf = self._tf
        vectors, targets = self._held
        class_weights = tf.constant(members.class_weights)
        held = None if members.held is None else tf.constant(members.held)

        @tf.function(input_signature=[])
        def measure() -> Any:
            total = tf.zeros((len(members.l2),))
            weight = tf.zeros_like(total)
            for start in tf.range(0, self._held_rows, _HELD_ROWS):
                block = slice(start, start + _HELD_ROWS)
                logits = self._forward(variables, self._standardised(vectors[block]))
                losses, weights = self._losses(logits, targets[block], class_weights, 0.0)
                mask = tf.ones_like(losses) if held is None else tf.cast(held[block], tf.float32)
                total += tf.reduce_sum(losses * mask, axis=0)
                weight += tf.reduce_sum(weights * mask, axis=0)
            return total / weight

        @tf.function(input_signature=[tf.TensorSpec([len(members.l2)], tf.bool)])
        def keep(better: Any) -> None:
            for place, (best, variable) in enumerate(zip(kept, variables, strict=True)):
                best.assign(tf.where(_along_members(tf, better, place, variable), variable, best))

        return measure, keep


def _along_members(tf: Any, values: Any, place: int, variable: Any) -> Any:
    """Shapes one value a head to go with a variable: of the first kernel the head is the second dimension."""
    shape = [1, -1, 1] if place == 0 else [-1] + [1] * (len(variable.shape) - 1)
    return tf.reshape(values, shape)


def _squares(tf: Any, kernel: Any, layer: int) -> Any:
    return tf.reduce_sum(tf.square(kernel), axis=(0, 2) if layer == 0 else (1, 2))


def share(array: npt.NDArray[Any]) -> Any:
    """Returns the array as a tensor, without copying one that lies as TensorFlow wants it."""
    tf = import_tensorflow()
    usable = array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % ALIGNMENT == 0
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__()) if usable and array.size else tf.constant(array)


def order_of_rows(rows: Rows, batch: int, generator: np.random.Generator) -> npt.NDArray[np.int32]:
    """Row numbers ``int32[steps, batch]`` of one pass; the last batch is filled from the first."""
    batch = min(batch, -(-len(rows) // LEAST_STEPS))
    steps = -(-len(rows) // batch)
    return np.resize(generator.permutation(rows), (steps, batch)).astype(np.int32)

"""Minibatch Adam through Keras: heads of any shape, in a compiled pass over the array in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.features import Examples
from pipelines.training.fit_settings import FitSettings
from pipelines.training.mindiff import Constraint
from pipelines.training.stack import Rows, Weights, order_of_rows, row_weights
from transforms.encoders.tensorflow_runtime import import_keras, import_tensorflow
from transforms.model.head import Array
from transforms.store.read import ALIGNMENT


class AdamTrainer:
    """The network, its optimiser and the compiled passes, traced once for all attempts.

    Args:
      train: examples; vectors are used where they lie.
      mean: of the columns.
      std: of the columns.
      class_weights: ``float32[C]``.
      settings: how to train.
      constraint: MinDiff of the two groups that it names, None for none.
    """

    def __init__(
        self,
        train: Examples,
        mean: Array,
        std: Array,
        class_weights: Array,
        settings: FitSettings,
        constraint: Constraint | None = None,
    ) -> None:
        keras = import_keras()
        self._settings, self._constraint = settings, constraint
        self._sides = None if constraint is None else constraint.sides(train)
        self._network = _build_network(mean, std, len(class_weights), settings)
        self._optimizer = keras.optimizers.Adam(settings.rate)  # set anew before each pass
        self._optimizer.build(self._network.trainable_variables)
        self._optimizer_start = [np.array(variable) for variable in self._optimizer.variables]
        self.initial: Weights = [np.array(variable) for variable in self._network.trainable_variables]
        self._l2, self._epoch, self._loss = _compile(
            self._network, self._optimizer, train, class_weights, settings, constraint
        )

    def run(self, l2: float, rows: Rows, held_out: Examples, start: Weights) -> tuple[float, int, Weights]:
        """Trains on ``rows`` until the loss on ``held_out`` stops falling.

        A linear head goes on from ``start``, as its loss is convex; a deeper one starts anew.

        Returns:
          The least held-out loss, the epochs, and the weights that had it.
        """
        settings = self._settings
        generator = np.random.default_rng(settings.seed)
        self._l2.assign(l2)
        _assign(self._optimizer.variables, self._optimizer_start)
        _assign(self._network.trainable_variables, self.initial if settings.hidden_units else start)
        best_weights, course = start, settings.schedule(len(rows)).start(1)
        measured, rate = self._held_out(held_out), settings.first_rate(len(rows))
        while not course.finished:
            self._optimizer.learning_rate.assign(rate * course.factors[0])
            order = order_of_rows(rows, settings.batch_size, generator)
            self._epoch(order, *self._groups(rows, len(order), generator))
            loss = float(self._loss(*measured))
            if course.see(np.array([loss]))[0]:
                best_weights = [np.array(variable) for variable in self._network.trainable_variables]
        return float(course.losses[0]), course.passes, best_weights

    def _groups(self, rows: Rows, steps: int, generator: np.random.Generator) -> tuple[Any, Array]:
        """Rows of both groups for each step, and who is of the subgroup; of no constraint none."""
        if self._constraint is None or self._sides is None:
            return np.zeros((steps, 0), np.int32), np.zeros(0, np.float32)
        inside, outside = (np.intersect1d(side, rows) for side in self._sides)
        return self._constraint.draw((inside, outside), steps, generator)

    def _held_out(self, held_out: Examples) -> tuple[Any, ...]:
        """What the held-out loss is computed of; a split without both groups counts without the constraint."""
        parts = (held_out.vectors, held_out.targets, row_weights(held_out))
        sample, members = held_out.take(np.zeros(0, np.int64)), np.zeros(0, np.float32)
        if self._constraint is not None:
            sample, members = self._constraint.sample(held_out)
            if members.all() or not members.any():
                sample, members = sample.take(np.zeros(0, np.int64)), members[:0]
        return (*parts, sample.vectors, members, row_weights(sample))


def share(array: npt.NDArray[Any]) -> Any:
    """Returns the array as a tensor, without copying one that lies as TensorFlow wants it."""
    tf = import_tensorflow()
    usable = array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % ALIGNMENT == 0
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__()) if usable and array.size else tf.constant(array)


def _assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _build_network(mean: Array, std: Array, classes: int, settings: FitSettings) -> Any:
    keras = import_keras()
    layers: list[Any] = [keras.Input((len(mean),)), keras.layers.Normalization(mean=mean, variance=std**2)]
    for index, units in enumerate((*settings.hidden_units, classes)):
        if settings.dropout_rate:
            layers.append(keras.layers.Dropout(settings.dropout_rate, seed=settings.seed + index))
        last = index == len(settings.hidden_units)
        start = "zeros" if last else keras.initializers.HeNormal(seed=settings.seed + index)
        layers.append(keras.layers.Dense(units, activation=None if last else "relu", kernel_initializer=start))
    return keras.Sequential(layers)


def _compile(
    network: Any,
    optimizer: Any,
    train: Examples,
    class_weights: Array,
    settings: FitSettings,
    constraint: Constraint | None,
) -> tuple[Any, Any, Any]:
    """Returns the variable that holds the L2 factor, one pass over training rows, and the loss of examples."""
    tf = import_tensorflow()
    l2 = tf.Variable(0.0, trainable=False)
    smoothing, classes = settings.label_smoothing, len(class_weights)
    vectors, targets, weights = share(train.vectors), tf.constant(train.targets), tf.constant(class_weights)
    of_rows = tf.constant(row_weights(train))
    kernels = network.trainable_variables[::2]

    def cross_entropy(logits: Any, wanted: Any, smooth: float) -> Any:
        if train.several:
            spread = tf.cast(wanted, tf.float32) * (1 - smooth) + smooth / 2
            return tf.reduce_sum(tf.nn.weighted_cross_entropy_with_logits(spread, logits, weights), axis=1)
        spread = tf.one_hot(wanted, classes) * (1 - smooth) + smooth / classes
        losses = tf.nn.softmax_cross_entropy_with_logits(spread, logits)
        return losses * tf.gather(weights, wanted)

    numbers, column = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None])

    @tf.function(input_signature=[numbers, numbers, column])
    def epoch(order: Any, groups: Any, members: Any) -> None:
        for step in tf.range(tf.shape(order)[0]):
            rows, both = order[step], groups[step]
            with tf.GradientTape() as tape:
                logits = network(tf.gather(vectors, rows), training=True)
                losses = cross_entropy(logits, tf.gather(targets, rows), smoothing) * tf.gather(of_rows, rows)
                loss = tf.reduce_mean(losses)
                if constraint is not None:
                    logits = network(tf.gather(vectors, both), training=True)
                    loss += constraint.penalty(logits, members, tf.gather(of_rows, both))
                loss += l2 * tf.add_n([tf.reduce_sum(tf.square(kernel)) for kernel in kernels])
            optimizer.apply(tape.gradient(loss, network.trainable_variables))

    rows_of = tf.TensorSpec([None, train.vectors.shape[1]])
    wanted_of = tf.TensorSpec([None, classes], tf.bool) if train.several else tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[rows_of, wanted_of, column, rows_of, column, column])
    def loss(held_vectors: Any, held_targets: Any, held_weights: Any, both: Any, members: Any, among: Any) -> Any:
        losses = cross_entropy(network(held_vectors, training=False), held_targets, 0.0)
        whole = tf.ones_like(losses) if train.several else tf.gather(weights, held_targets)
        mean = tf.reduce_sum(losses * held_weights) / tf.reduce_sum(whole * held_weights)
        if constraint is not None:
            mean += constraint.penalty(network(both, training=False), members, among)
        return mean

    return l2, epoch, loss

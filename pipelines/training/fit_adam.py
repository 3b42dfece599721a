"""Minibatch Adam through Keras: heads of any shape, in a compiled pass over the array in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.training.features import Examples
from pipelines.training.fit_settings import FitSettings
from pipelines.training.stack import Rows, Weights, order_of_rows, share
from transforms.encoders.tensorflow_runtime import import_keras, import_tensorflow
from transforms.model.head import Array


class AdamTrainer:
    """The network, its optimiser and the compiled passes, traced once for all attempts.

    Args:
      train: examples; vectors are used where they lie.
      mean: of the columns.
      std: of the columns.
      class_weights: ``float32[C]``.
      settings: how to train.
    """

    def __init__(self, train: Examples, mean: Array, std: Array, class_weights: Array, settings: FitSettings) -> None:
        keras = import_keras()
        self._settings = settings
        self._network = _build_network(mean, std, len(class_weights), settings)
        self._optimizer = keras.optimizers.Adam(settings.rate)
        self._optimizer.build(self._network.trainable_variables)
        self._optimizer_start = [np.array(variable) for variable in self._optimizer.variables]
        self.initial: Weights = [np.array(variable) for variable in self._network.trainable_variables]
        self._l2, self._epoch, self._loss = _compile(self._network, self._optimizer, train, class_weights, settings)

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
        while not course.finished:
            self._optimizer.learning_rate.assign(settings.rate * course.factors[0])
            self._epoch(order_of_rows(rows, settings.batch_size, generator))
            loss = float(self._loss(held_out.vectors, held_out.targets))
            if course.see(np.array([loss]))[0]:
                best_weights = [np.array(variable) for variable in self._network.trainable_variables]
        return float(course.losses[0]), course.passes, best_weights


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
    network: Any, optimizer: Any, train: Examples, class_weights: Array, settings: FitSettings
) -> tuple[Any, Any, Any]:
    """Returns the variable that holds the L2 factor, one pass over training rows, and the loss of examples."""
    tf = import_tensorflow()
    l2 = tf.Variable(0.0, trainable=False)
    smoothing, classes = settings.label_smoothing, len(class_weights)
    vectors, targets, weights = share(train.vectors), tf.constant(train.targets), tf.constant(class_weights)
    kernels = network.trainable_variables[::2]

    def cross_entropy(logits: Any, wanted: Any, smooth: float) -> Any:
        if train.several:
            spread = tf.cast(wanted, tf.float32) * (1 - smooth) + smooth / 2
            return tf.reduce_sum(tf.nn.weighted_cross_entropy_with_logits(spread, logits, weights), axis=1)
        spread = tf.one_hot(wanted, classes) * (1 - smooth) + smooth / classes
        losses = tf.nn.softmax_cross_entropy_with_logits(spread, logits)
        return losses * tf.gather(weights, wanted)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def epoch(order: Any) -> None:
        for rows in order:
            with tf.GradientTape() as tape:
                logits = network(tf.gather(vectors, rows), training=True)
                loss = tf.reduce_mean(cross_entropy(logits, tf.gather(targets, rows), smoothing))
                loss += l2 * tf.add_n([tf.reduce_sum(tf.square(kernel)) for kernel in kernels])
            optimizer.apply(tape.gradient(loss, network.trainable_variables))

    examples = [
        tf.TensorSpec([None, train.vectors.shape[1]]),
        tf.TensorSpec([None, classes], tf.bool) if train.several else tf.TensorSpec([None], tf.int32),
    ]

    @tf.function(input_signature=examples)
    def loss(held_vectors: Any, held_targets: Any) -> Any:
        losses = cross_entropy(network(held_vectors, training=False), held_targets, 0.0)
        if train.several:
            return tf.reduce_mean(losses)
        return tf.reduce_sum(losses) / tf.reduce_sum(tf.gather(weights, held_targets))

    return l2, epoch, loss

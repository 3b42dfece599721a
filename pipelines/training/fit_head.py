"""Fits a softmax head on vectors: a Keras network of one or few dense layers, in a compiled loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.training.class_weights import parse_class_weights
from pipelines.training.features import Examples
from pipelines.training.fit_settings import FitSettings
from transforms.encoders.tensorflow_runtime import import_keras, import_tensorflow
from transforms.errors import OptionError
from transforms.model.head import Array, Head

L2_PATH = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4, 3e-5, 1e-5)
"""What ``--l2-regularizer auto`` tries, strongest first, until the held-out loss has risen twice."""

STRONGEST = 1000.0
"""Values above this, divided by the number of examples, are left out: much data needs little of it."""

FOLDED_EXAMPLES = 20_000
"""Up to this many training examples ``auto`` holds out each fold in turn: one split alone would be too few."""

_WORSE_IN_A_ROW = 2
_LEAST_STEPS = 8  # a pass: few examples are cut into smaller batches, or a pass would change next to nothing
_LEAST_STD = 1e-6  # below: a feature that does not vary, which standardising would blow up

Rows = npt.NDArray[np.int64]
Weights = list[Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted head and how it came about.

    Attributes:
      head: of temperature 1.
      validation_loss: its cross-entropy on the validation split, weighted by class, in nats.
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


def standardisation(vectors: Array) -> tuple[Array, Array]:
    """Returns mean and standard deviation of each column; one that does not vary gets 1."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    total = np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), 8192):  # by rows: a float64 copy of all would be twice the matrix
        total += np.square(vectors[start : start + 8192] - mean).sum(axis=0)
    std = np.sqrt(total / len(vectors))
    std[std < _LEAST_STD * np.maximum(1.0, np.abs(mean))] = 1.0
    return mean.astype(np.float32), std.astype(np.float32)


def fit_head(
    train: Examples,
    validation: Examples,
    labels: Sequence[str],
    settings: FitSettings,
    folds: npt.NDArray[np.int64] | None = None,
) -> Fit:
    """Fits a head; the same arguments give the same weights.

    A given regulariser is trained until the validation loss stops falling, and the best weights are restored.
    To find one, L2_PATH is followed in the same manner. With few examples, a linear head and ``folds``, that
    is done once a fold, holding the fold out instead of the validation split, and the heads are averaged: an
    average of linear heads is a linear head, steadier than each, that has seen all of the training split.

    Args:
      train: each class has at least one example.
      validation: not empty.
      labels: names of the classes.
      settings: see there.
      folds: ``int[N]``, the fold of each training example.

    Raises:
      OptionError: when class_weights do not fit the labels, or the learning rate is far too high.
    """
    counts, several = train.counts(len(labels)), len(train.targets) if train.several else None
    class_weights = parse_class_weights(settings.class_weights, labels, counts, several)
    if train.several:
        train = train.known(len(labels))
    trainer = _Trainer(train, class_weights, settings)
    everything = np.arange(len(train.targets))
    averaged = settings.l2_regularizer is None and not settings.hidden_units and len(everything) <= FOLDED_EXAMPLES
    attempts: list[Attempt] = []
    found: list[Weights] = []
    for fold in np.unique(folds).tolist() if averaged and folds is not None else ():
        held_out = folds == fold
        weights, tried = _follow_path(trainer, everything[~held_out], train.take(everything[held_out]), fold)
        found.append(weights)
        attempts += tried
    if not found:
        weights, attempts = _follow_path(trainer, everything, validation, -1)
        found = [weights]
    mean: Weights = [np.stack(arrays).mean(axis=0) for arrays in zip(*found, strict=True)]
    layers = tuple(zip(mean[::2], mean[1::2], strict=True))
    return Fit(
        head=Head(
            labels=tuple(labels),
            mean=trainer.mean,
            std=trainer.std,
            layers=layers,
            activation="sigmoid" if train.several else "softmax",
        ),
        validation_loss=trainer.loss_of(mean, validation),
        epochs=sum(attempt.epochs for attempt in attempts),
        attempts=tuple(attempts),
    )


def _follow_path(trainer: _Trainer, rows: Rows, held_out: Examples, fold: int) -> tuple[Weights, list[Attempt]]:
    """Tries the regularisers from the strongest on; returns the weights with the least held-out loss."""
    given = trainer.settings.l2_regularizer
    tried: list[Attempt] = []
    best, best_weights, worse = np.inf, trainer.initial, 0
    weights = trainer.initial
    path = [l2 for l2 in L2_PATH if l2 * len(rows) <= STRONGEST] or L2_PATH[-1:]
    for l2 in path if given is None else (given,):
        loss, epochs, weights = trainer.run(l2, rows, held_out, weights)
        tried.append(Attempt(fold, l2, loss, epochs, kept=False))
        worse = worse + 1 if loss >= best else 0
        if loss < best:
            best, best_weights = loss, weights
        if worse == _WORSE_IN_A_ROW:
            break
    if not np.isfinite(best):
        raise OptionError(f"the loss became infinite at --learning-rate {trainer.settings.learning_rate:g}; lower it")
    kept = min(range(len(tried)), key=lambda index: tried[index].held_out_loss)
    tried[kept] = tried[kept]._replace(kept=True)
    return best_weights, tried


class _Trainer:
    """The network, its optimiser and the compiled passes, traced once for all attempts."""

    def __init__(self, train: Examples, class_weights: Array, settings: FitSettings) -> None:
        keras = import_keras()
        self.settings = settings
        self.mean, self.std = standardisation(train.vectors)
        self._network = _build_network(self.mean, self.std, len(class_weights), settings)
        self._optimizer = keras.optimizers.Adam(settings.learning_rate)
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
        generator = np.random.default_rng(self.settings.seed)
        self._l2.assign(l2)
        _assign(self._optimizer.variables, self._optimizer_start)
        _assign(self._network.trainable_variables, self.initial if self.settings.hidden_units else start)
        best, best_weights, stale, epochs = np.inf, start, 0, 0
        while epochs < self.settings.train_epochs and stale < self.settings.patience:
            epochs += 1
            self._epoch(self._order(rows, generator))
            loss = float(self._loss(held_out.vectors, held_out.targets))
            stale = stale + 1 if not loss < best else 0
            if loss < best:
                best = loss
                best_weights = [np.array(variable) for variable in self._network.trainable_variables]
        return best, epochs, best_weights

    def loss_of(self, weights: Weights, examples: Examples) -> float:
        """Returns the cross-entropy of a head with ``weights``."""
        _assign(self._network.trainable_variables, weights)
        return float(self._loss(examples.vectors, examples.targets))

    def _order(self, rows: Rows, generator: np.random.Generator) -> npt.NDArray[np.int32]:
        """Row numbers ``int32[steps, batch]`` of one pass; the last batch is filled from the first."""
        batch = min(self.settings.batch_size, -(-len(rows) // _LEAST_STEPS))
        steps = -(-len(rows) // batch)
        return np.resize(generator.permutation(rows), (steps, batch)).astype(np.int32)


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
    vectors, targets, weights = (tf.constant(array) for array in (train.vectors, train.targets, class_weights))
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

"""Fits a softmax head on vectors: a Keras network of one or few dense layers, in a compiled loop."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.features import Examples
from transforms.errors import OptionError
from transforms.model.head import Array, Head

L2_PATH = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
"""What ``--l2-regularizer auto`` tries, strongest first, until the validation loss has risen twice."""

_WORSE_IN_A_ROW = 2
_LEAST_STD = 1e-6  # below: a feature that does not vary, which standardising would blow up


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a head is fitted.

    Attributes:
      dropout_rate: share of a layer's inputs that a training step sets to zero, in [0, 1).
      l2_regularizer: factor of the weights' squares in the loss; None finds it on the validation split.
      label_smoothing: share of a target spread over all classes, in [0, 1).
      learning_rate: of Adam.
      train_epochs: passes over the training split, at most.
      batch_size: examples a step.
      class_weights: ``none``, ``balanced``, or ``label=weight,…``.
      hidden_units: widths of ReLU layers before the softmax; none is a linear head.
      patience: epochs without a better validation loss after which training stops.
      seed: of the shuffling, the dropout and the initial weights of hidden layers.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """

    dropout_rate: float = 0.0
    l2_regularizer: float | None = None
    label_smoothing: float = 0.0
    learning_rate: float = 0.0005
    train_epochs: int = 100
    batch_size: int = 256
    class_weights: str = "none"
    hidden_units: tuple[int, ...] = ()
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for flag in ("dropout_rate", "label_smoothing"):
            if not 0 <= getattr(self, flag) < 1:
                raise OptionError(f"{_flag(flag)} must be in [0, 1), got {getattr(self, flag)}")
        for flag in ("learning_rate", "train_epochs", "batch_size", "patience"):
            if not 0 < getattr(self, flag) < float("inf"):
                raise OptionError(f"{_flag(flag)} must be positive, got {getattr(self, flag)}")
        if self.l2_regularizer is not None and not 0 <= self.l2_regularizer < float("inf"):
            raise OptionError(f"--l2-regularizer must be auto, 0 or positive, got {self.l2_regularizer}")
        if any(units < 1 for units in self.hidden_units):
            raise OptionError(f"--hidden-units must be positive, got {','.join(map(str, self.hidden_units))}")
        if not 0 <= self.seed < 2**31:
            raise OptionError(f"--seed must be in [0, 2147483648), got {self.seed}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted head and how it came about.

    Attributes:
      head: of temperature 1.
      l2_regularizer: the one that was used.
      validation_loss: cross-entropy of the head, weighted by class, in nats.
      epochs: passes over the training split, all values of the regulariser together.
      path: (l2_regularizer, best validation loss, epochs) of each value that was tried.
    """

    head: Head
    l2_regularizer: float
    validation_loss: float
    epochs: int
    path: tuple[tuple[float, float, int], ...]


def parse_class_weights(text: str, labels: Sequence[str], counts: npt.NDArray[np.int64]) -> Array:
    """Returns a weight for each class.

    ``balanced`` gives ``examples / (classes * examples of the class)``. A label that ``label=weight,…`` does
    not name weighs 1; a label with a comma is put into double quotes together with its weight.

    Args:
      text: as FitSettings.class_weights.
      labels: names of the classes.
      counts: training examples of each class, positive.

    Raises:
      OptionError: for a label that is none of the classes, or a weight that is not positive.
    """
    if text == "none":
        return np.ones(len(labels), np.float32)
    if text == "balanced":
        return (counts.sum() / (len(labels) * counts)).astype(np.float32)
    weights = np.ones(len(labels), np.float32)
    for item in next(csv.reader([text]), []):
        label, equals, number = item.rpartition("=")
        if not equals:
            raise OptionError(f"--class-weights must be balanced, none or label=weight,…, got {text!r}")
        if label not in labels:
            raise OptionError(f"--class-weights: {label!r} is no class; there are {_some(labels)}")
        try:
            weights[list(labels).index(label)] = float(number)
        except ValueError:
            raise OptionError(f"--class-weights: the weight of {label!r} is no number: {number!r}") from None
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise OptionError(f"--class-weights: weights must be positive, got {text!r}")
    return weights


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
    train: Examples, validation: Examples, labels: Sequence[str], settings: FitSettings = FitSettings()
) -> Fit:
    """Fits a head; the same arguments give the same weights.

    Args:
      train: each class has at least one example.
      validation: decides on the regulariser and on when to stop; not empty.
      labels: names of the classes.
      settings: see there.

    Raises:
      OptionError: when class_weights do not fit the labels.
    """
    counts = np.bincount(train.targets, minlength=len(labels))
    weights = parse_class_weights(settings.class_weights, labels, counts)
    trainer = _Trainer(train, validation, weights, settings)
    candidates = L2_PATH if settings.l2_regularizer is None else (settings.l2_regularizer,)
    path: list[tuple[float, float, int]] = []
    best_loss, best_l2, best_weights, worse = np.inf, candidates[0], trainer.initial, 0
    for l2 in candidates:
        loss, epochs, found = trainer.run(l2)
        path.append((l2, loss, epochs))
        worse = worse + 1 if loss >= best_loss else 0
        if loss < best_loss:
            best_loss, best_l2, best_weights = loss, l2, found
        if worse == _WORSE_IN_A_ROW:
            break
    pairs = tuple(zip(best_weights[::2], best_weights[1::2], strict=True))
    head = Head(labels=tuple(labels), mean=trainer.mean, std=trainer.std, layers=pairs)
    return Fit(
        head=head,
        l2_regularizer=best_l2,
        validation_loss=best_loss,
        epochs=sum(epochs for _, _, epochs in path),
        path=tuple(path),
    )


class _Trainer:
    """The network, its optimiser and the compiled passes over the two splits, traced once."""

    def __init__(self, train: Examples, validation: Examples, class_weights: Array, settings: FitSettings) -> None:
        import keras

        self._settings = settings
        self._examples = len(train.targets)
        self.mean, self.std = standardisation(train.vectors)
        self._network = _build_network(self.mean, self.std, len(class_weights), settings)
        self._optimizer = keras.optimizers.Adam(settings.learning_rate)
        self._optimizer.build(self._network.trainable_variables)
        self._optimizer_start = [np.array(variable) for variable in self._optimizer.variables]
        self.initial: list[Array] = [np.array(variable) for variable in self._network.trainable_variables]
        self._l2, self._epoch, self._validation_loss = _compile(
            self._network, self._optimizer, train, validation, class_weights, settings
        )

    def run(self, l2: float) -> tuple[float, int, list[Array]]:
        """Trains until the validation loss stops falling; returns it, the epochs and the best weights.

        A linear head goes on from the weights it has, as its loss is convex; a deeper one starts anew.
        """
        generator = np.random.default_rng(self._settings.seed)
        variables = self._network.trainable_variables
        self._l2.assign(l2)
        self._assign(self._optimizer.variables, self._optimizer_start)
        if self._settings.hidden_units:
            self._assign(variables, self.initial)
        best, best_weights, stale, epochs = np.inf, self.initial, 0, 0
        while epochs < self._settings.train_epochs and stale < self._settings.patience:
            epochs += 1
            self._epoch(self._order(generator))
            loss = float(self._validation_loss())
            stale = stale + 1 if not loss < best else 0
            if loss < best:
                best, best_weights = loss, [np.array(variable) for variable in variables]
        self._assign(variables, best_weights)
        return best, epochs, best_weights

    def _order(self, generator: np.random.Generator) -> npt.NDArray[np.int32]:
        """Row numbers ``int32[steps, batch]`` of one pass; the last batch is filled from the first."""
        batch = min(self._settings.batch_size, self._examples)
        steps = -(-self._examples // batch)
        return np.resize(generator.permutation(self._examples), (steps, batch)).astype(np.int32)

    @staticmethod
    def _assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _build_network(mean: Array, std: Array, classes: int, settings: FitSettings) -> Any:
    import keras

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
    validation: Examples,
    class_weights: Array,
    settings: FitSettings,
) -> tuple[Any, Any, Any]:
    """Returns the variable that holds the L2 factor, one pass over train, and the validation loss."""
    import tensorflow as tf

    l2 = tf.Variable(0.0, trainable=False)
    smoothing, classes = settings.label_smoothing, len(class_weights)
    vectors, targets = tf.constant(train.vectors), tf.constant(train.targets)
    held_vectors, held_targets = tf.constant(validation.vectors), tf.constant(validation.targets)
    weights = tf.constant(class_weights)
    kernels = network.trainable_variables[::2]

    def cross_entropy(logits: Any, wanted: Any, smooth: float) -> Any:
        spread = tf.one_hot(wanted, classes) * (1 - smooth) + smooth / classes
        losses = tf.nn.softmax_cross_entropy_with_logits(spread, logits)
        return losses * tf.gather(weights, wanted)

    @tf.function
    def epoch(order: Any) -> None:
        for rows in order:
            with tf.GradientTape() as tape:
                logits = network(tf.gather(vectors, rows), training=True)
                loss = tf.reduce_mean(cross_entropy(logits, tf.gather(targets, rows), smoothing))
                loss += l2 * tf.add_n([tf.reduce_sum(tf.square(kernel)) for kernel in kernels])
            optimizer.apply(tape.gradient(loss, network.trainable_variables))

    @tf.function
    def validation_loss() -> Any:
        losses = cross_entropy(network(held_vectors, training=False), held_targets, 0.0)
        return tf.reduce_sum(losses) / tf.reduce_sum(tf.gather(weights, held_targets))

    return l2, epoch, validation_loss


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _some(labels: Sequence[str]) -> str:
    return ", ".join(map(repr, labels[:10])) + (" …" if len(labels) > 10 else "")

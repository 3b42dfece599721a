"""Fits a network on pixels: compiled steps, early stopping, checkpoints, and a line that says how far it is."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.progress import StatusLine, duration
from pipelines.training.batches import Batches
from pipelines.training.checkpoint import Arrays, load_checkpoint, save_checkpoint
from pipelines.training.classifier import Classifier
from pipelines.training.features import Examples
from pipelines.training.network_settings import NetworkSettings
from pipelines.training.pixels import rows_of
from transforms.encoders.tensorflow_runtime import import_keras, import_tensorflow
from transforms.errors import OptionError
from transforms.model.head import Array

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints within an epoch; there is one at the end of each epoch."""

_EVALUATED = 64  # images a call


@dataclasses.dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training split; losses are cross-entropies in nats, weighted by class.

    Attributes:
      epoch: from 1; 0 is the network before training.
      learning_rate: of its last step.
      loss: mean over its steps, as the network was then, on augmented images and with dropout.
      accuracy: likewise, in [0, 1].
      validation_loss: at its end.
      validation_accuracy: at its end.
      seconds: that it took.
    """

    epoch: int
    learning_rate: float
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclasses.dataclass(kw_only=True)
class _Progress:
    """How far a training is; what a checkpoint keeps beside the weights."""

    epoch: int = 1
    step: int = 0
    loss: float = 0.0
    right: float = 0.0
    seconds: float = 0.0
    best: float = math.inf
    stale: int = 0
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def learning_rate(settings: NetworkSettings, step: int, steps: int) -> float:
    """Returns the learning rate of a step, counted from 0; an epoch has ``steps``.

    It rises in a straight line, then stays or falls as half a cosine (I. Loshchilov, F. Hutter, SGDR, ICLR 2017).
    """
    warm_up = settings.warm_up_epochs * steps
    if step < warm_up:
        return settings.learning_rate * (step + 1) / (warm_up + 1)
    if settings.schedule == "constant":
        return settings.learning_rate
    share = (step - warm_up) / max(1.0, settings.train_epochs * steps - warm_up)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def fit_network(
    classifier: Classifier,
    batches: Batches,
    train: Examples,
    validation: Examples,
    class_weights: Array,
    settings: NetworkSettings,
    directory: str,
) -> list[Epoch]:
    """Trains a network until the validation loss stops falling, and leaves the best weights in it.

    The same arguments give the same weights, whether or not an earlier call was killed.

    Args:
      classifier: in its initial state.
      batches: of all images.
      train: vectors are the numbers of rows of the pixels, ``float32[N, 1]``.
      validation: likewise; not empty.
      class_weights: ``float32[C]``.
      settings: see there.
      directory: of the checkpoint.

    Returns:
      What each epoch was like, the network before training first.

    Raises:
      OptionError: the learning rate is far too high.
    """
    return _Fitting(classifier, batches, train, validation, class_weights, settings, directory).run()


class _Fitting:
    def __init__(
        self,
        classifier: Classifier,
        batches: Batches,
        train: Examples,
        validation: Examples,
        class_weights: Array,
        settings: NetworkSettings,
        directory: str,
    ) -> None:
        self._classifier, self._batches, self._settings, self._directory = classifier, batches, settings, directory
        self._rows, self._targets = rows_of(train), dense_targets(train.targets, len(class_weights))
        self._held_rows, self._held_targets = rows_of(validation), dense_targets(validation.targets, len(class_weights))
        steps = batches.steps(len(self._rows))
        self._optimizer, self._step, self._evaluate = _compile(classifier, class_weights, settings, steps)
        self._progress = _Progress()
        self._best: Arrays = []
        self._line = StatusLine()

    def run(self) -> list[Epoch]:
        """Trains, from the checkpoint if there is one."""
        if not self._resume():
            self._finish_epoch(0, 0.0, math.nan, math.nan)
        progress, settings = self._progress, self._settings
        while progress.epoch <= settings.train_epochs and progress.stale < settings.patience:
            self._run_epoch()
        _assign(self._classifier.state, self._best)
        return [Epoch(**fields) for fields in progress.history]

    def _run_epoch(self) -> None:
        progress, started = self._progress, time.monotonic()
        order = self._batches.order(len(self._rows), progress.epoch)
        first, before, saved = progress.step, progress.seconds, started
        rate = 0.0
        images = self._batches.read(self._rows[order], progress.epoch, first)
        for step, (pixels, chosen) in enumerate(zip(images, order[first:], strict=True), start=first):
            total = (progress.epoch - 1) * len(order) + step
            rate = learning_rate(self._settings, total, len(order))
            self._optimizer.learning_rate.assign(rate)
            loss, right = self._step(pixels, self._targets[chosen], total)
            progress.loss += float(loss) / len(order)
            progress.right += float(right) / order.size
            progress.step, progress.seconds = step + 1, before + time.monotonic() - started
            self._tell(step + 1, len(order), step + 1 - first, time.monotonic() - started)
            if time.monotonic() - saved > CHECKPOINT_SECONDS and step + 1 < len(order):
                self._save()
                saved = time.monotonic()
        if not math.isfinite(progress.loss):
            value = f"{self._settings.learning_rate:g}"
            raise OptionError(f"the loss became infinite at --learning-rate {value}; lower it")
        self._finish_epoch(progress.epoch, rate, progress.loss, progress.right)

    def _finish_epoch(self, epoch: int, rate: float, loss: float, right: float) -> None:
        progress, started = self._progress, time.monotonic()
        last: Arrays = []
        if epoch and self._optimizer.use_ema:
            last = [np.array(variable) for variable in self._classifier.trained]
            self._optimizer.finalize_variable_values(self._classifier.trained)
        held_loss, held_right = self._measure()
        done = Epoch(
            epoch=epoch,
            learning_rate=rate,
            loss=loss,
            accuracy=right,
            validation_loss=held_loss,
            validation_accuracy=held_right,
            seconds=round(progress.seconds + time.monotonic() - started, 3),
        )
        progress.history.append(dataclasses.asdict(done))
        better = held_loss < progress.best
        progress.stale = 0 if better else progress.stale + 1
        if better:
            progress.best = held_loss
            self._best = [np.array(variable) for variable in self._classifier.state]
        if last:
            _assign(self._classifier.trained, last)
        progress.epoch, progress.step, progress.loss, progress.right, progress.seconds = epoch + 1, 0, 0.0, 0.0, 0.0
        self._line.keep(_words(done, self._settings.train_epochs, better))
        self._save()

    def _measure(self) -> tuple[float, float]:
        """Returns loss and accuracy on the validation split."""
        totals = np.zeros(3)
        for start in range(0, len(self._held_rows), _EVALUATED):
            rows = self._held_rows[start : start + _EVALUATED]
            targets = self._held_targets[start : start + _EVALUATED]
            totals += [float(value) for value in self._evaluate(self._batches.array[rows], targets)]
        return float(totals[0] / totals[1]), float(totals[2] / len(self._held_rows))

    def _tell(self, step: int, steps: int, fresh: int, seconds: float) -> None:
        rate = fresh / seconds
        images = rate * min(self._batches.size, len(self._rows))
        self._line.update(
            f"epoch {self._progress.epoch} of {self._settings.train_epochs}: step {step:,} of {steps:,} · "
            f"{images:,.0f} images/s · {duration((steps - step) / rate)} left"
        )

    def _save(self) -> None:
        groups: dict[str, Sequence[Any]] = {
            "state": self._classifier.state,
            "optimizer": self._optimizer.variables,
            "best": self._best,
        }
        save_checkpoint(self._directory, dataclasses.asdict(self._progress), groups)

    def _resume(self) -> bool:
        found = load_checkpoint(self._directory)
        if found is None:
            return False
        fields, groups = found
        self._progress = _Progress(**fields)
        _assign(self._classifier.state, groups["state"])
        _assign(self._optimizer.variables, groups["optimizer"])
        self._best = groups["best"]
        self._line.keep(f"going on with epoch {self._progress.epoch}, from the checkpoint in {self._directory}")
        return True


def dense_targets(targets: npt.NDArray[Any], classes: int) -> Array:
    """Returns ``float32[N, classes]``, 1 for each label that an image has."""
    return (targets[:, :classes] if targets.ndim == 2 else np.eye(classes)[targets]).astype(np.float32)


def _assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _words(epoch: Epoch, epochs: int, better: bool) -> str:
    held = f"validation loss {epoch.validation_loss:.4f}, accuracy {epoch.validation_accuracy:.3f}"
    best = " · best so far" if better and epoch.epoch else ""
    if not epoch.epoch:
        return f"before training: {held}"
    seen = f"loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.3f}"
    return f"epoch {epoch.epoch} of {epochs}: {seen} · {held} · {duration(epoch.seconds)}{best}"


def _compile(
    classifier: Classifier, class_weights: Array, settings: NetworkSettings, steps: int
) -> tuple[Any, Any, Any]:
    """Returns the optimiser, one step of training, and the measuring of a batch; an epoch has ``steps``."""
    tf = import_tensorflow()
    averaged = settings.ema_epochs * steps
    optimizer = import_keras().optimizers.Adam(
        settings.learning_rate, use_ema=averaged > 1, ema_momentum=1 - 1 / max(averaged, 1)
    )
    trained = classifier.trained
    kernels = [variable for variable in trained if len(variable.shape) >= 2]
    optimizer.build(trained)
    weights = tf.constant(class_weights)
    softmax, smoothing = classifier.start.activation == "softmax", settings.label_smoothing

    def losses(logits: Any, targets: Any, smooth: float) -> tuple[Any, Any, Any]:
        """Weighted losses, their weights, and which predictions are right."""
        if softmax:
            spread = targets * (1 - smooth) + smooth / len(class_weights)
            weight = tf.linalg.matvec(targets, weights)
            right = tf.argmax(logits, axis=1) == tf.argmax(targets, axis=1)
            return tf.nn.softmax_cross_entropy_with_logits(spread, logits) * weight, weight, right
        spread = targets * (1 - smooth) + smooth / 2
        each = tf.nn.weighted_cross_entropy_with_logits(spread, logits, weights)
        right = tf.reduce_all((logits > 0) == (targets > 0.5), axis=1)
        return tf.reduce_sum(each, axis=1), tf.ones(tf.shape(right)), right

    @tf.function(autograph=False)
    def step(images: Any, targets: Any, number: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            loss, _, right = losses(classifier.logits(images, True, number), targets, smoothing)
            total = tf.reduce_mean(loss)
            if settings.l2_regularizer:
                total += settings.l2_regularizer * tf.add_n([tf.nn.l2_loss(kernel) * 2 for kernel in kernels])
        optimizer.apply(tape.gradient(total, trained), trained)
        return tf.reduce_mean(loss), tf.reduce_sum(tf.cast(right, tf.float32))

    @tf.function(autograph=False)
    def evaluate(images: Any, targets: Any) -> Any:
        loss, weight, right = losses(classifier.logits(images, False), targets, 0.0)
        return tf.reduce_sum(loss), tf.reduce_sum(weight), tf.reduce_sum(tf.cast(right, tf.float32))

    def run(images: Any, targets: Any, number: int) -> Any:
        return step(tf.constant(images), tf.constant(targets), tf.constant(number, tf.int32))

    return optimizer, run, lambda images, targets: evaluate(tf.constant(images), tf.constant(targets))

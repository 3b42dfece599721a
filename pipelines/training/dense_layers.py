"""Dense layers of heads side by side: from inputs to logits and back, and their cross-entropy, with numpy."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.model.head import Array, sigmoid

Floats = npt.NDArray[np.floating[Any]]
Targets = npt.NDArray[np.int32] | npt.NDArray[np.bool_]

_FEW_CLASSES = 8  # up to so many, numpy reduces faster class by class


def forward(weights: Sequence[Array], inputs: Array, masks: Sequence[Array] = ()) -> list[Array]:
    """Maps ``[B, D]`` to the inputs of each layer, and last to logits ``[B, M, C]``.

    Args:
      weights: kernel and bias of each layer, with a dimension for the head: the second of the first kernel, else
        the first.
      inputs: standardised.
      masks: ``[B, H]`` for each hidden layer, which its values are multiplied by; none for no dropout.
    """
    values = (inputs @ weights[0].reshape(len(weights[0]), -1)).reshape(-1, *weights[1].shape)
    values += weights[1]
    layers = [inputs]
    for place in range(2, len(weights), 2):
        np.maximum(values, 0, out=values)
        if masks:
            values *= masks[place // 2 - 1][:, None, :]
        layers.append(values)
        values = np.empty((*values.shape[:2], weights[place].shape[2]), np.float32)
        np.matmul(layers[-1].swapaxes(0, 1), weights[place], out=values.swapaxes(0, 1))
        values += weights[place + 1]
    return [*layers, values]


def backward(weights: Sequence[Array], layers: Sequence[Array], delta: Array, scale: float, out: list[Array]) -> None:
    """Computes the gradients of the weights.

    Args:
      weights: that went forward.
      layers: the inputs of each layer.
      delta: gradient of the logits, ``[B, M, C]``.
      scale: what the hidden values that are left were multiplied by.
      out: takes the gradients, of the weights' shapes.
    """
    for place in range(len(weights) - 2, 0, -2):
        values = layers[place // 2]
        np.matmul(values.transpose(1, 2, 0), delta.swapaxes(0, 1), out=out[place])
        np.sum(delta, axis=0, out=out[place + 1])
        below = np.empty_like(values)
        np.matmul(delta.swapaxes(0, 1), weights[place].swapaxes(1, 2), out=below.swapaxes(0, 1))
        below *= (values > 0) * np.float32(scale)
        delta = below
    flat = delta.reshape(len(delta), -1)
    np.matmul(layers[0].T, flat, out=out[0].reshape(len(out[0]), -1))
    np.sum(flat, axis=0, out=out[1].reshape(-1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """In nats, of one label an image or of several.

    Attributes:
      several: sigmoids in place of a softmax; targets are then ``bool[B, C]``, else ``int32[B]``.
      smoothing: share of a target that is spread over all classes, while training.
    """

    several: bool
    smoothing: float

    def losses(self, logits: Floats, targets: Targets, class_weights: Array) -> tuple[Floats, Floats]:
        """Returns losses and what each counts, ``[B, M]``, of ``[B, M, C]`` logits; without smoothing."""
        if self.several:
            wanted = targets[:, None, :]
            losses = np.logaddexp(0, logits) - logits * wanted
            summed: Floats = np.where(wanted, class_weights * losses, losses).sum(axis=2)
            return summed, np.ones_like(summed)
        weights = class_weights.T[targets]
        picked = logits[np.arange(len(logits)), :, targets]
        most = _over_classes(np.maximum, logits)
        log_sum = most + np.log(_over_classes(np.add, np.exp(logits - most[:, :, None])))
        return (log_sum - picked) * weights, weights

    def gradient(self, logits: Array, targets: Targets, class_weights: Array, counted: Array) -> Array:
        """Returns the gradient of the losses' sum, each times ``counted [B, M]``; overwrites the logits."""
        classes = logits.shape[2]
        if self.several:
            wanted = (targets * np.float32(1 - self.smoothing) + np.float32(self.smoothing / 2))[:, None, :]
            delta: Array = sigmoid(logits) * (1 - wanted + class_weights * wanted) - class_weights * wanted
            return delta * counted[:, :, None]
        logits -= _over_classes(np.maximum, logits)[:, :, None]
        np.exp(logits, out=logits)
        logits /= _over_classes(np.add, logits)[:, :, None]
        if self.smoothing:
            logits -= np.float32(self.smoothing / classes)
        logits[np.arange(len(logits)), :, targets] -= np.float32(1 - self.smoothing)
        logits *= (class_weights.T[targets] * counted)[:, :, None]
        return logits


def _over_classes(ufunc: np.ufunc, values: Floats) -> Floats:
    if values.shape[2] > _FEW_CLASSES:
        result: Floats = ufunc.reduce(values, axis=2)
        return result
    return functools.reduce(ufunc, (values[:, :, index] for index in range(values.shape[2])))

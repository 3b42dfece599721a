"""Adam for heads side by side: a step reads and writes each weight and its two moments once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.encoders.tensorflow_runtime import import_tensorflow
from transforms.model.head import Array

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7  # as Keras has them
_FEW_WEIGHTS = 2**19  # up to so many, compiling the step takes longer than it saves


class StackedAdam:
    """Weights of M heads with their moments; M may change, and nothing is traced again.

    Args:
      weights: kernel and bias of each layer, with a dimension for the head: the second of the first kernel, else
        the first.

    Attributes:
      variables: the weights.
      steps: since the start.
    """

    def __init__(self, weights: list[Array]) -> None:
        tf = self._tf = import_tensorflow()
        shapes = [
            [None if axis == head_axis(place) else size for axis, size in enumerate(array.shape)]
            for place, array in enumerate(weights)
        ]
        self.variables, self._firsts, self._seconds = (
            [tf.Variable(array, shape=shape) for array, shape in zip(weights, shapes, strict=True)] for _ in range(3)
        )
        self.steps = tf.Variable(0.0)
        fused = sum(array.size for array in weights) > _FEW_WEIGHTS
        self._move = tf.function(self._update, jit_compile=True) if fused else self._update

    def start(self, weights: list[Array]) -> None:
        """Begins with these weights."""
        for place, array in enumerate(weights):
            self.variables[place].assign(array)
            for moments in (self._firsts, self._seconds):
                moments[place].assign(self._tf.zeros(array.shape))
        self.steps.assign(0.0)

    def take(self, chosen: npt.NDArray[np.int64]) -> None:
        """Keeps some of the heads."""
        for variables in (self.variables, self._firsts, self._seconds):
            for place, variable in enumerate(variables):
                variable.assign(self._tf.gather(variable, chosen, axis=head_axis(place)))

    def step(self, gradients: list[Any], rates: Any, l2: Any) -> None:
        """Moves the weights.

        Args:
          gradients: of the loss without its regulariser.
          rates: ``float32[M]``, learning rates.
          l2: ``float32[M]``, factors of the squares of the kernels.
        """
        steps = self.steps.assign_add(1.0)
        self._move(gradients, rates * self._tf.sqrt(1 - _BETA_2**steps) / (1 - _BETA_1**steps), l2)

    def _update(self, gradients: list[Any], rates: Any, l2: Any) -> None:
        tf = self._tf
        for place, (variable, gradient) in enumerate(zip(self.variables, gradients, strict=True)):
            if place % 2 == 0:
                gradient += 2 * along_heads(tf, l2, place, variable) * variable
            first = self._firsts[place].assign_add((gradient - self._firsts[place]) * (1 - _BETA_1))
            second = self._seconds[place].assign_add((tf.square(gradient) - self._seconds[place]) * (1 - _BETA_2))
            variable.assign_sub(along_heads(tf, rates, place, variable) * first / (tf.sqrt(second) + _EPSILON))


def head_axis(place: int) -> int:
    """Returns the dimension of the heads in kernels and biases, by their place."""
    return 1 if place == 0 else 0


def along_heads(tf: Any, values: Any, place: int, weights: Any) -> Any:
    """Shapes one value a head to go with weights."""
    return tf.reshape(values, [-1 if axis == head_axis(place) else 1 for axis in range(len(weights.shape))])

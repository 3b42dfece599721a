"""Adam for heads side by side: a step reads and writes each weight and its two moments once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.training.team import Team
from transforms.model.head import Array

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7  # as Keras has them
_BLOCK = 16384  # weights at a time, which with their moments and gradients stay in a core's cache


class StackedAdam:
    """Weights of M heads with their moments; M may fall.

    Args:
      weights: kernel and bias of each layer, with a dimension for the head: the second of the first kernel, else
        the first. They are copied.

    Attributes:
      variables: the weights.
    """

    def __init__(self, weights: list[Array]) -> None:
        self.variables = [array.copy() for array in weights]
        self._firsts, self._seconds = ([np.zeros_like(array) for array in weights] for _ in range(2))
        self._steps = 0

    def take(self, chosen: npt.NDArray[np.int64]) -> None:
        """Keeps some of the heads."""
        for arrays in (self.variables, self._firsts, self._seconds):
            arrays[:] = [array.take(chosen, axis=head_axis(place)) for place, array in enumerate(arrays)]

    def step(self, gradients: Sequence[list[Array]], rates: Array, l2: Array, team: Team) -> None:
        """Moves the weights.

        Args:
          gradients: of the loss without its regulariser, in parts that are added up; they are overwritten.
          rates: ``float32[M]``, learning rates.
          l2: ``float32[M]``, factors of the squares of the kernels.
          team: that shares the work.
        """
        self._steps += 1
        # The moments lack the factors 1 - beta, which go into the rate and into epsilon instead.
        begun = math.sqrt((1 - _BETA_2**self._steps) / (1 - _BETA_2)) / (1 - _BETA_1**self._steps)
        rates, epsilon = rates * np.float32((1 - _BETA_1) * begun), np.float32(_EPSILON / math.sqrt(1 - _BETA_2))

        def move(block: tuple[int, slice]) -> None:
            place, rows = block
            own = slice(None) if head_axis(place) else rows  # of the heads
            arrays = (self.variables[place], self._firsts[place], self._seconds[place])
            weights, first, second = (array[rows] for array in arrays)
            gradient = gradients[0][place][rows]
            for further in gradients[1:]:
                gradient += further[place][rows]
            if place % 2 == 0:
                gradient += weights * along_heads(2 * l2[own], place, weights)
            first *= np.float32(_BETA_1)
            first += gradient
            np.square(gradient, out=gradient)
            second *= np.float32(_BETA_2)
            second += gradient
            np.sqrt(second, out=gradient)
            gradient += epsilon
            np.divide(first, gradient, out=gradient)
            gradient *= along_heads(rates[own], place, weights)
            weights -= gradient

        team.map(move, self._blocks())

    def _blocks(self) -> list[tuple[int, slice]]:
        """Returns the places of the arrays, each cut into blocks along its first dimension."""
        blocks = []
        for place, array in enumerate(self.variables):
            rows = max(1, _BLOCK * len(array) // array.size)
            blocks += [(place, slice(start, start + rows)) for start in range(0, len(array), rows)]
        return blocks


def head_axis(place: int) -> int:
    """Returns the dimension of the heads in kernels and biases, by their place."""
    return 1 if place == 0 else 0


def along_heads(values: Array, place: int, weights: Array) -> Array:
    """Shapes one value a head to go with weights."""
    return values.reshape([-1 if axis == head_axis(place) else 1 for axis in range(weights.ndim)])

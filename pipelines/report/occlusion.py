"""What a model looks at, whatever its engine: how its answer changes when parts of an image are covered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from transforms.model.head import Array, Head

GRID = 8
"""Cells a side of a map."""

_WINDOW = 2  # cells a side that are covered at a time


def evidence(encode: Callable[[npt.NDArray[np.uint8]], Array], head: Head, image: npt.NDArray[np.uint8]) -> Array:
    """Maps an image to ``float32[GRID, GRID]``: what each cell speaks for the answer, in nats; negative against it.

    Each window is covered by the image's mean colour in turn; a cell has the mean fall of the answer's log-odds
    over the windows that cover it (M. Zeiler and R. Fergus, Visualizing and Understanding Convolutional Networks,
    2014).

    Args:
      encode: ``uint8[B, height, width, 3]`` to ``float32[B, D]``.
      head: whose most probable label is the answer.
      image: ``uint8[height, width, 3]``, as it enters the network.
    """
    rows, columns = (np.linspace(0, side, GRID + 1).round().astype(int) for side in image.shape[:2])
    corners = [(top, left) for top in range(GRID - _WINDOW + 1) for left in range(GRID - _WINDOW + 1)]
    covered = np.repeat(image[None], len(corners) + 1, axis=0)
    mean = image.mean(axis=(0, 1)).round().astype(np.uint8)
    for place, (top, left) in enumerate(corners, start=1):
        covered[place, rows[top] : rows[top + _WINDOW], columns[left] : columns[left + _WINDOW]] = mean
    probabilities = head.probabilities(encode(covered)).astype(np.float64)
    answer = np.clip(probabilities[:, probabilities[0].argmax()], 1e-7, 1 - 1e-7)
    odds = np.log(answer / (1 - answer))
    falls, times = np.zeros((GRID, GRID)), np.zeros((GRID, GRID))
    for fall, (top, left) in zip(odds[0] - odds[1:], corners, strict=True):
        falls[top : top + _WINDOW, left : left + _WINDOW] += fall
        times[top : top + _WINDOW, left : left + _WINDOW] += 1
    return (falls / times).astype(np.float32)

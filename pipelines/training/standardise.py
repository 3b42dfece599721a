"""Mean and standard deviation of each column, by blocks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.training.team import Team
from transforms.model.head import Array

_LEAST_STD = 1e-6  # below: a feature that does not vary, which standardising would blow up
_ROWS = 128  # at a time: they stay in a core's cache, and sums of so many in float32 are exact enough


def standardisation(vectors: Array) -> tuple[Array, Array]:
    """Returns mean and standard deviation of each column; one that does not vary gets 1."""
    about = vectors[:_ROWS].mean(axis=0, dtype=np.float64).astype(np.float32)  # else squares would swallow digits

    def sums(part: slice) -> npt.NDArray[np.float64]:
        total = np.zeros((2, len(about)))
        for start in range(part.start, part.stop, _ROWS):
            rows = vectors[start : min(start + _ROWS, part.stop)] - about
            total[0] += rows.sum(axis=0)
            np.square(rows, out=rows)
            total[1] += rows.sum(axis=0)
        return total

    step = 64 * _ROWS
    with Team() as team:
        parts = team.map(
            sums, [slice(start, min(start + step, len(vectors))) for start in range(0, len(vectors), step)]
        )
    first, second = np.sum(parts, axis=0) / len(vectors)
    mean, std = about + first, np.sqrt(np.maximum(second - np.square(first), 0))
    std[std < _LEAST_STD * np.maximum(1.0, np.abs(mean))] = 1.0
    return mean.astype(np.float32), std.astype(np.float32)

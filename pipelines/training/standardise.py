"""Mean and standard deviation of each column, by blocks."""

from __future__ import annotations

import numpy as np

from transforms.model.head import Array

_LEAST_STD = 1e-6  # below: a feature that does not vary, which standardising would blow up


def standardisation(vectors: Array) -> tuple[Array, Array]:
    """Returns mean and standard deviation of each column; one that does not vary gets 1."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    total = np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), 8192):  # by rows: a float64 copy of all would be twice the matrix
        total += np.square(vectors[start : start + 8192] - mean).sum(axis=0)
    std = np.sqrt(total / len(vectors))
    std[std < _LEAST_STD * np.maximum(1.0, np.abs(mean))] = 1.0
    return mean.astype(np.float32), std.astype(np.float32)

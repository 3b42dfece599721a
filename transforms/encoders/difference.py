"""How alike the vectors of two engines are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transforms.encoders.encoder import Vectors


class Difference(NamedTuple):
    """How alike the vectors of two engines are.

    Attributes:
      mean: of the cosines, image by image.
      least: of the cosines.
    """

    mean: float
    least: float


def difference(found: Vectors, expected: Vectors) -> Difference:
    """Returns the cosines of vectors ``float32[B, D]``, row by row; two vectors of zeros are alike."""
    left, right = found.astype(np.float64), expected.astype(np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = (left * right).sum(axis=1) / np.where(norms > 0, norms, 1)
    cosines = np.where(norms > 0, products, (left == right).all(axis=1))
    return Difference(float(cosines.mean()), float(cosines.min()))

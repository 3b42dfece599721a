"""Drift: how far new images are from earlier ones, as a distance of distributions, and which are farthest."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from transforms.model.head import Array

PERMUTATIONS = 199
"""Divisions at random that the one into earlier and new is compared with."""

LEAST = 20
"""Images a side below which nothing is compared."""

LARGEST = 1000
"""Images a side that are compared at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drift:
    """What was found.

    Attributes:
      distance: in [0, 1]: the energy distance as a share of twice the mean distance between earlier and new
        images (the E-coefficient of inhomogeneity; G. Székely and M. Rizzo, Energy statistics, 2013); 0 is no
        difference.
      p_value: the share of divisions at random that lie as far apart or farther, this one counted.
      earlier: images that were compared.
      new: images that were compared.
      farthest: rows of the new images, the one farthest from its nearest earlier image first.
      ratios: of each new image, that distance as a multiple of the median one between earlier images.
    """

    distance: float
    p_value: float
    earlier: int
    new: int
    farthest: npt.NDArray[np.int64]
    ratios: Array


def measure_drift(earlier: Array, new: Array) -> Drift | None:
    """Compares ``float32[M, D]`` earlier vectors with ``float32[N, D]`` new ones; None where either has few.

    The first LARGEST of each are compared, in Euclidean distance; the same vectors give the same result.
    """
    earlier, new = earlier[:LARGEST], new[:LARGEST]
    if min(len(earlier), len(new)) < LEAST:
        return None
    distances = _distances(np.concatenate([earlier, new]))
    size = len(distances)
    generator = np.random.default_rng(0)
    is_new = np.arange(size) >= len(earlier)
    sides = np.stack([is_new, *(generator.permutation(is_new) for _ in range(PERMUTATIONS))], axis=1)
    coefficients = _coefficients(distances, sides)
    own = distances[: len(earlier), : len(earlier)] + np.diag(np.full(len(earlier), np.inf))
    usual = float(np.median(own.min(axis=1)))
    nearest = distances[len(earlier) :, : len(earlier)].min(axis=1)
    ratios = (nearest / usual if usual > 0 else nearest).astype(np.float32)
    return Drift(
        distance=float(coefficients[0]),
        p_value=float((coefficients >= coefficients[0] - 1e-12).mean()),
        earlier=len(earlier),
        new=len(new),
        farthest=np.argsort(-ratios, kind="stable"),
        ratios=ratios,
    )


def _coefficients(distances: npt.NDArray[np.float64], sides: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The E-coefficient of each column of ``bool[N, K]``: (2 E|X-Y| - E|X-X'| - E|Y-Y'|) / (2 E|X-Y|)."""
    second = sides.astype(np.float64)
    first = 1 - second
    to_second = distances @ second
    m, n = first.sum(axis=0), second.sum(axis=0)
    between = (first * to_second).sum(axis=0) / (m * n)
    within_first = (first * (distances.sum(axis=1, keepdims=True) - to_second)).sum(axis=0) / m**2
    within_second = (second * to_second).sum(axis=0) / n**2
    gap = np.maximum(2 * between - within_first - within_second, 0)
    return np.divide(gap, 2 * between, out=np.zeros_like(gap), where=between > 0)


def _distances(vectors: Array) -> npt.NDArray[np.float64]:
    """Euclidean distances between all rows, ``float64[N, N]``."""
    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    squares = np.square(centred).sum(axis=1)
    found = np.maximum(squares[:, None] + squares - 2 * centred @ centred.T, 0)
    np.fill_diagonal(found, 0)
    return np.asarray(np.sqrt(found))

"""Clusters of embeddings: k-means on a sample, and the nearest centre of every other row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.errors import InputError
from transforms.measures.batch import Floats, Ints

SAMPLE_ROWS = 20_000
"""Vectors that the centres are fitted on."""

_ROUNDS = 30

Vectors = npt.NDArray[np.float32]


class Assignment(NamedTuple):
    """The nearest centre of each row, and the distance to it."""

    code: Ints
    distance: Floats


def fit_clusters(vectors: Vectors, clusters: int, seed: int = 0) -> Vectors:
    """Returns the centres ``float32[clusters, D]`` of directions of ``vectors[N, D]``, largest cluster first.

    Lloyd's algorithm from a start by k-means++ (D. Arthur, S. Vassilvitskii, 2007), on vectors of length 1.

    Raises:
      InputError: there are fewer different vectors than clusters.
    """
    points, chance = _directions(vectors), np.random.default_rng(seed)
    distinct = len(np.unique(points, axis=0))
    if distinct < clusters:
        raise InputError(f"{distinct:,} different embeddings cannot make {clusters} clusters; ask for fewer")
    centres = points[[chance.integers(len(points))]]
    for _ in range(clusters - 1):
        far = np.square(assign_clusters(points, centres).distance)
        centres = np.concatenate([centres, points[[chance.choice(len(points), p=far / far.sum())]]])
    for _ in range(_ROUNDS):
        code = assign_clusters(points, centres).code
        sums = np.zeros(centres.shape)
        np.add.at(sums, code, points)
        size = np.bincount(code, minlength=clusters)
        moved = np.where(size[:, None] > 0, sums / np.maximum(size, 1)[:, None], centres).astype(np.float32)
        if np.allclose(moved, centres, atol=1e-6):
            break
        centres = moved
    size = np.bincount(assign_clusters(points, centres).code, minlength=clusters)
    ordered: Vectors = centres[np.argsort(-size, kind="stable")]
    return ordered


def assign_clusters(vectors: Vectors, centres: Vectors) -> Assignment:
    """Returns the nearest of ``centres[K, D]`` to the direction of each of ``vectors[N, D]``."""
    points = _directions(vectors)
    squares = np.square(points).sum(axis=1)[:, None] - 2 * points @ centres.T + np.square(centres).sum(axis=1)
    code = squares.argmin(axis=1)
    nearest = np.maximum(squares[np.arange(len(code)), code], 0).astype(np.float64)
    return Assignment(code, np.sqrt(nearest))


def sample_rows(batches: Iterable[Vectors], limit: int) -> Vectors:
    """Returns the first ``limit`` rows of batches ``float32[n, D]``.

    Raises:
      InputError: there are none.
    """
    kept, rows = [], 0
    for batch in batches:
        kept.append(batch[: limit - rows])
        rows += len(kept[-1])
        if rows >= limit:
            break
    if not rows:
        raise InputError("there are no embeddings to make clusters of; embed images first")
    return np.concatenate(kept)


def _directions(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: Vectors = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return directions

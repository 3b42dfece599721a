"""Near duplicates between two sets of vectors: blocks of matrix products, with memory bounded by a block."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from transforms.model.head import Array

_SKETCH = 48  # dimensions that rule most pairs out; the rest is looked at in full
_SAMPLE = 2048  # rows that the subspace is found from
_BLOCK_ROWS, _BLOCK_COLUMNS = 512, 4096  # 8 MB of products at a time
_ROUNDING = 1e-3  # of a product of float32 vectors, generously
_LEAST_NORM, _NOISE = 1e-30, 1e-5

Rows = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Space:
    """Directions from a centre, in which vectors are compared.

    The cosine is of what is left of a vector when the centre is taken off: features after a ReLU all point
    into one corner, and images of one kind more so, which makes plain cosines of unrelated images high.

    Attributes:
      centre: ``float32[D]``.
      basis: ``float32[D, K]``, orthonormal columns along which the vectors vary most.
    """

    centre: Array
    basis: Array

    @classmethod
    def of(cls, vectors: Array) -> Space:
        """Returns the space around the mean of ``float32[N, D]``; the same vectors give the same space."""
        centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        generator = np.random.default_rng(0)
        rows = generator.choice(len(vectors), min(_SAMPLE, len(vectors)), replace=False)
        sample = _directions(vectors[rows], centre)
        size = min(_SKETCH, vectors.shape[1])
        basis = generator.normal(size=(vectors.shape[1], size)).astype(np.float32)
        for _ in range(3):  # the power method (N. Halko et al., Finding structure with randomness, 2011)
            basis = np.linalg.qr(sample.T @ (sample @ basis))[0]
        return cls(centre=centre, basis=basis)

    def sketch(self, vectors: Array) -> Array:
        """Maps ``float32[N, D]`` to ``float32[N, K + 1]``: products of sketches bound the cosines from above.

        ``a·b = Pa·Pb + a'·b'`` where a' and b' are what the subspace leaves over, and ``a'·b' <= |a'||b'|``: the
        length left over is the last column. So no pair is missed, however well or badly the subspace fits.
        """
        found = np.empty((len(vectors), self.basis.shape[1] + 1), np.float32)
        for start in range(0, len(vectors), _BLOCK_COLUMNS):
            rows = slice(start, start + _BLOCK_COLUMNS)
            directions = _directions(vectors[rows], self.centre)
            found[rows, :-1] = directions @ self.basis
            lengths = np.square(directions).sum(axis=1) - np.square(found[rows, :-1]).sum(axis=1)
            found[rows, -1] = np.sqrt(np.maximum(lengths, 0))
        return found

    def cosines(self, left: Array, right: Array) -> Array:
        """Returns the cosine of each row of ``left`` with the same row of ``right``."""
        products = _directions(left, self.centre) * _directions(right, self.centre)
        found: Array = products.sum(axis=1)
        return found


def nearest_above(space: Space, queries: Array, pool: Array, threshold: float) -> tuple[Rows, Array]:
    """Finds, for each query, its nearest vector of a pool, if their cosine is at least ``threshold``.

    Args:
      space: in which they are compared.
      queries: ``float32[Q, D]``.
      pool: ``float32[P, D]``.
      threshold: in (0, 1].

    Returns:
      The row in ``pool`` of each query's nearest vector, to within 0.001, -1 for none; and the cosine, 0 for none.
    """
    nearest, best = np.full(len(queries), -1, np.int64), np.zeros(len(queries), np.float32)
    sketches = space.sketch(pool)
    products = np.empty(_BLOCK_ROWS * _BLOCK_COLUMNS, np.float32)  # used again: fresh memory costs more than a product
    for start in range(0, len(queries), _BLOCK_ROWS):
        sketched = space.sketch(queries[start : start + _BLOCK_ROWS])
        found = best[start : start + _BLOCK_ROWS]
        for first in range(0, len(pool), _BLOCK_COLUMNS):
            block = sketches[first : first + _BLOCK_COLUMNS]
            bounds = products[: len(sketched) * len(block)].reshape(len(sketched), len(block))
            np.matmul(sketched, block.T, out=bounds)
            hits = np.flatnonzero(bounds >= threshold - _ROUNDING)
            while hits.size:  # the most promising of each query first: it rules out most of a crowd of duplicates
                rows, columns = np.divmod(hits, len(block))
                order = np.lexsort((-bounds.ravel()[hits], rows))
                leading = order[np.diff(rows[order], prepend=-1) > 0]
                pairs = rows[leading] + start, columns[leading] + first
                _improve(space, (queries, pool), pairs, (nearest, best))
                hits = np.delete(hits, leading)
                hits = hits[bounds.ravel()[hits] > found[hits // len(block)] + _ROUNDING]
    missed = best < threshold - _ROUNDING / 100
    nearest[missed], best[missed] = -1, 0
    return nearest, best


def _improve(space: Space, vectors: tuple[Array, Array], pairs: tuple[Rows, Rows], found: tuple[Rows, Array]) -> None:
    """Looks at pairs in full, one a query at most, and notes those that are nearer than what was found before."""
    (queries, pool), (nearest, best), (rows, columns) = vectors, found, pairs
    cosines = space.cosines(queries[rows], pool[columns])
    better = cosines > best[rows]
    nearest[rows[better]], best[rows[better]] = columns[better], cosines[better]


def _directions(vectors: Array, centre: Array) -> Array:
    centred = vectors - centre
    lengths = np.sqrt(np.square(centred).sum(axis=1, keepdims=True))
    lengths[lengths <= _NOISE * np.linalg.norm(centre)] = np.inf  # at the centre: no direction but rounding
    found: Array = centred / np.maximum(lengths, _LEAST_NORM)
    return found

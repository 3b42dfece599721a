"""Vectors on a plane: principal components, then t-SNE, which keeps neighbours together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.model.head import Array

POINTS = 500
"""Vectors on a map at most."""

LEAST = 10
"""Fewer make no map."""

COMPONENTS, PERPLEXITY, ITERATIONS = 50, 30, 400


def project(vectors: Array) -> npt.NDArray[np.float32] | None:
    """Maps ``float32[N, D]`` to ``float32[N, 2]`` in [0, 1], the same every time; None for fewer than LEAST.

    Distances on the plane mean something near by, not far away.
    """
    if len(vectors) < LEAST:
        return None
    if (vectors == vectors[0]).all():
        return np.full((len(vectors), 2), 0.5, np.float32)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # waiting for each other takes its threads longer than so few points, on a busy machine
        return _project(vectors)


def _project(vectors: Array) -> npt.NDArray[np.float32]:
    from sklearn.decomposition import PCA  # a second to import
    from sklearn.manifold import TSNE

    size = min(COMPONENTS, len(vectors) - 1, vectors.shape[1])
    components = PCA(size, random_state=0).fit_transform(vectors)
    spread = max(float(components[:, 0].std()), 1e-12)
    start = components[:, :2] if size > 1 else np.pad(components, ((0, 0), (0, 1)))
    places = TSNE(
        2,
        init=start / spread * 1e-4,
        perplexity=min(PERPLEXITY, (len(vectors) - 1) / 3),
        max_iter=ITERATIONS,
        random_state=0,
    ).fit_transform(components)
    low, high = places.min(axis=0), places.max(axis=0)
    return ((places - low) / np.maximum(high - low, 1e-12)).astype(np.float32)


def spread_out(places: npt.NDArray[np.float32], number: int) -> npt.NDArray[np.int64]:
    """Chooses rows of ``float32[N, 2]`` that lie as far from each other as can be, sorted (farthest-point sampling)."""
    chosen = [0] if len(places) else []
    gaps = np.full(len(places), np.inf)
    while len(chosen) < min(number, len(places)):
        gaps = np.minimum(gaps, np.square(places - places[chosen[-1]]).sum(axis=1))
        gaps[chosen] = -1
        chosen.append(int(gaps.argmax()))
    return np.sort(np.array(chosen, np.int64))

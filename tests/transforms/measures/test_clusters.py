from __future__ import annotations

import numpy as np
import pytest

from transforms.errors import InputError
from transforms.measures.clusters import assign_clusters, fit_clusters, sample_rows


def test_directions_that_lie_together_are_one_cluster() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [50, 30, 10])
    vectors = np.eye(8, dtype=np.float32)[truth] * generator.uniform(1, 9, (90, 1))
    vectors = (vectors + generator.normal(0, 0.05, vectors.shape)).astype(np.float32)
    centres = fit_clusters(vectors, 3, seed=1)
    code, distance = assign_clusters(vectors, centres)
    np.testing.assert_array_equal(code, truth)  # the largest cluster is the first
    assert distance.max() < 0.5
    np.testing.assert_array_equal(centres, fit_clusters(vectors, 3, seed=1))


def test_too_few_vectors_are_refused() -> None:
    with pytest.raises(InputError, match="1 different embeddings cannot make 2 clusters; ask for fewer"):
        fit_clusters(np.ones((5, 3), np.float32), 2)
    with pytest.raises(InputError, match="no embeddings to make clusters of"):
        sample_rows(iter(()), 5)
    assert sample_rows(iter([np.zeros((3, 2)), np.ones((3, 2))]), 4).sum() == 2

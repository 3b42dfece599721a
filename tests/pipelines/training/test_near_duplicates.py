from __future__ import annotations

import numpy as np
import pytest

from pipelines.training import near_duplicates
from pipelines.training.near_duplicates import Space, nearest_above


def vectors(count: int, dimension: int, seed: int) -> np.ndarray:
    """What a network with a ReLU at its end gives: all in one corner, a few directions matter most."""
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(count, dimension)) * np.logspace(0, -1, dimension)
    return np.maximum(mixed @ np.random.default_rng(9).normal(size=(dimension, dimension)) + 1, 0).astype(np.float32)


def cosines(space: Space, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """All of them, by the definition."""
    left, right = (part.astype(np.float64) - space.centre for part in (left, right))
    left, right = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (left, right))
    return left @ right.T


@pytest.mark.parametrize(("dimension", "threshold"), [(40, 0.6), (40, 0.8), (200, 0.5), (200, 0.9)])
def test_it_finds_what_comparing_all_pairs_finds(
    dimension: int, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "_BLOCK_ROWS", 64)
    monkeypatch.setattr(near_duplicates, "_BLOCK_COLUMNS", 100)
    pool, queries = vectors(950, dimension, 1), vectors(330, dimension, 2)
    queries[::3] = pool[:110] + np.random.default_rng(3).normal(size=(110, dimension)).astype(np.float32) * 0.3
    space = Space.of(pool)
    every = cosines(space, queries, pool)
    nearest, best = nearest_above(space, queries, pool, threshold)
    assert np.array_equal(nearest >= 0, every.max(axis=1) >= threshold)
    assert 60 < (nearest >= 0).sum() < 330
    found = np.flatnonzero(nearest >= 0)
    assert best[found] == pytest.approx(every[found, nearest[found]], abs=1e-5)
    assert (best[found] > every[found].max(axis=1) - 2e-3).all()
    assert not best[nearest < 0].any()


def test_the_products_of_sketches_are_never_below_the_cosines() -> None:
    pool = vectors(400, 120, 4)
    space = Space.of(pool)
    other = np.random.default_rng(5).normal(size=(300, 120)).astype(np.float32)  # nothing like what the space is of
    assert (space.sketch(other) @ space.sketch(pool).T >= cosines(space, other, pool) - 1e-5).all()


def test_a_crowd_of_equal_vectors_and_one_at_the_centre_are_no_trouble() -> None:
    pool = vectors(300, 64, 6)
    pool[100:] = pool[100]
    nearest, best = nearest_above(Space.of(pool), pool[100:150], pool, 0.99)
    assert (nearest >= 100).all()
    assert best == pytest.approx(1, abs=1e-5)
    same = np.repeat(pool[:1], 50, axis=0)
    assert (nearest_above(Space.of(same), same, same, 0.9)[0] == -1).all()
    assert nearest_above(Space.of(pool), pool[:0], pool, 0.9)[0].shape == (0,)

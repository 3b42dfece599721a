from __future__ import annotations

import numpy as np

from pipelines.report.projection import LEAST, project, spread_out


def test_groups_stay_together_and_the_map_is_the_same_every_time() -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(3), 20)
    vectors = (generator.normal(size=(3, 40))[groups] * 5 + generator.normal(size=(60, 40))).astype(np.float32)
    places = project(vectors)
    assert places is not None
    assert places.min() == 0
    assert places.max() == 1
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(axis=1)] == groups).all()
    np.testing.assert_array_equal(places, project(vectors))


def test_few_vectors_make_no_map_and_equal_ones_a_point() -> None:
    assert project(np.zeros((LEAST - 1, 4), np.float32)) is None
    flat = project(np.ones((LEAST, 4), np.float32))
    assert flat is not None
    assert (flat == 0.5).all()
    line = project(np.arange(LEAST, dtype=np.float32)[:, None])
    assert line is not None
    assert np.isfinite(line).all()


def test_chosen_points_are_spread_out() -> None:
    places = np.array([[0, 0], [0.01, 0], [0.02, 0], [1, 1], [0, 1]], np.float32)
    assert spread_out(places, 3).tolist() == [0, 3, 4]
    assert spread_out(places, 9).tolist() == [0, 1, 2, 3, 4]
    assert spread_out(places[:0], 3).tolist() == []

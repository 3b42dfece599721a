from __future__ import annotations

import numpy as np
import pytest

from pipelines.report.drift import LEAST, measure_drift
from pipelines.report.sections.drift import describe_drift


def normal(rows: int, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(rows, 8)) + shift).astype(np.float32)


def test_the_distance_is_that_of_its_definition() -> None:
    earlier, new = normal(LEAST), normal(LEAST + 5, shift=1, seed=1)

    def mean(left: np.ndarray, right: np.ndarray) -> float:
        return float(np.linalg.norm(left[:, None] - right, axis=2).mean())

    between = mean(earlier, new)
    wanted = (2 * between - mean(earlier, earlier) - mean(new, new)) / (2 * between)
    found = measure_drift(earlier, new)
    assert found is not None
    assert found.distance == pytest.approx(wanted, rel=1e-5)


def test_the_same_distribution_is_no_drift_and_another_is() -> None:
    same, other = measure_drift(normal(100), normal(100, seed=1)), measure_drift(normal(100), normal(100, 2.0, 1))
    assert same is not None
    assert other is not None
    assert same.p_value > 0.05
    assert other.p_value == pytest.approx(1 / 200)
    assert describe_drift(same).startswith("The new images are not clearly different")
    assert describe_drift(other).startswith("The new images are very different")


def test_the_farthest_image_comes_first() -> None:
    new = normal(30, seed=1)
    new[7] += 50
    found = measure_drift(normal(30), new)
    assert found is not None
    assert found.farthest[0] == 7
    assert found.ratios[7] > 10 * np.median(found.ratios)


def test_few_images_are_not_compared_and_equal_ones_do_no_harm() -> None:
    assert measure_drift(normal(LEAST - 1), normal(100)) is None
    flat = np.ones((LEAST, 8), np.float32)
    found = measure_drift(flat, flat)
    assert found is not None
    assert found.distance == 0

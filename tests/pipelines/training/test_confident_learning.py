from __future__ import annotations

import numpy as np

from pipelines.training.confident_learning import (
    calibrated_joint,
    class_thresholds,
    confident_joint,
    normalised_margin,
    probably_wrong,
)

PROBABILITIES = np.array(
    [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.85, 0.15], [0.45, 0.55]]
)
GIVEN = np.array([0, 0, 0, 0, 1, 1, 1, 1])


def test_the_joint_is_that_of_the_paper_by_hand() -> None:
    # Mean self-confidence: (.9 + .8 + .3 + .6) / 4 = .65 and (.9 + .8 + .15 + .55) / 4 = .6.
    assert np.allclose(class_thresholds(PROBABILITIES, GIVEN), [0.65, 0.6])
    # Row 2 (.7 >= .6) is a confident 1 among the 0s, row 6 a confident 0 among the 1s; rows 3 and 7 reach neither.
    joint = confident_joint(PROBABILITIES, GIVEN)
    assert joint.tolist() == [[2, 1], [1, 2]]
    assert np.allclose(calibrated_joint(joint, GIVEN), [[8 / 3, 4 / 3], [4 / 3, 8 / 3]])
    assert np.flatnonzero(probably_wrong(PROBABILITIES, GIVEN)).tolist() == [2, 6]
    assert np.allclose(normalised_margin(PROBABILITIES, GIVEN), [0.8, 0.6, -0.4, 0.2, 0.8, 0.6, -0.7, 0.1])


def test_a_class_without_images_or_without_confident_ones_is_no_trouble() -> None:
    probabilities = np.array([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0], [0.2, 0.8, 0.0]])
    given = np.array([0, 1, 1])
    assert class_thresholds(probabilities, given)[2] == 1
    assert not probably_wrong(probabilities, given).any()

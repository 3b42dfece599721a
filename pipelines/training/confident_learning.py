"""Confident learning: which labels are probably wrong, from probabilities by heads that have not seen them.

C. G. Northcutt, L. Jiang and I. L. Chuang, Confident learning: estimating uncertainty in dataset labels, Journal of
Artificial Intelligence Research 70, 2021. The sections below are of that paper.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Classes = npt.NDArray[np.int64]


def class_thresholds(probabilities: Floats, given: Classes) -> Floats:
    """Returns the mean confidence in each class of the images that have its label (equation 2), 1 without any."""
    classes = probabilities.shape[1]
    sums = np.bincount(given, probabilities[np.arange(len(given)), given], classes)
    counts = np.bincount(given, minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), 1.0)


def confident_joint(probabilities: Floats, given: Classes) -> Counts:
    """Counts images by given label and by the label that they confidently have (equation 1).

    An image is counted once, under the most probable of the classes whose threshold it reaches, and not at all when it
    reaches none.

    Args:
      probabilities: ``[N, C]``, each row by a head that has not seen the image.
      given: ``[N]``, the labels.

    Returns:
      ``int64[C, C]``, given label (down) by confident label (across).
    """
    reached = probabilities >= class_thresholds(probabilities, given)
    counted = reached.any(axis=1)
    confident = np.where(reached, probabilities, -1.0).argmax(axis=1)
    joint = np.zeros((probabilities.shape[1],) * 2, np.int64)
    np.add.at(joint, (given[counted], confident[counted]), 1)
    return joint


def calibrated_joint(joint: Counts, given: Classes) -> Floats:
    """Returns the joint with each row scaled to the number of images that have the label (equation 3)."""
    counts = np.bincount(given, minlength=len(joint)).astype(np.float64)
    rows = joint.sum(axis=1, keepdims=True)
    found = joint * (counts[:, None] / np.maximum(rows, 1))
    empty = rows[:, 0] == 0
    found[empty, empty] = counts[empty]  # nothing is known of such a label: it is taken as right
    return np.asarray(found)


def normalised_margin(probabilities: Floats, given: Classes) -> Floats:
    """Returns the confidence in the given label minus the highest in another one (section 3.2): low is suspicious."""
    rows = np.arange(len(given))
    others = probabilities.copy()
    others[rows, given] = -np.inf
    return np.asarray(probabilities[rows, given] - others.max(axis=1))


def probably_wrong(probabilities: Floats, given: Classes) -> npt.NDArray[np.bool_]:
    """Tells which labels are probably wrong: prune by noise rate (section 3.2).

    For each pair of a given and another class, as many images as the calibrated joint counts are taken: those whose
    confidence in the other exceeds that in the given one most. One whose given label is the most probable is not.

    Returns:
      ``bool[N]``.
    """
    numbers = np.rint(calibrated_joint(confident_joint(probabilities, given), given)).astype(np.int64)
    wrong = np.zeros(len(given), np.bool_)
    for label in range(len(numbers)):
        rows = np.flatnonzero(given == label)
        for other in np.flatnonzero(numbers[label]):
            if other != label:
                margins = probabilities[rows, other] - probabilities[rows, label]
                wrong[rows[np.argsort(-margins, kind="stable")[: numbers[label, other]]]] = True
    return wrong & (probabilities.argmax(axis=1) != given)

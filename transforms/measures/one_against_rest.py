"""Each class against the rest, in rows that name every class: areas, losses, calibration, counts by threshold."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from transforms.measures.areas import average_precision, roc_area
from transforms.measures.batch import ClassScores
from transforms.measures.calibration import BINS, bin_of
from transforms.measures.confusion import NAN, ratio
from transforms.measures.score_sample import ScoreSample
from transforms.measures.thresholds import ThresholdCounts

LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
"""The log loss takes a confidence of the truth below this (2^-23) as this, so that a zero stays finite."""

UNDEFINED = {
    "roc_auc": NAN,
    "roc_auc_error": NAN,
    "average_precision": NAN,
    "average_precision_error": NAN,
    "log_loss": NAN,
    "brier_score": NAN,
    "expected_calibration_error": NAN,
}
"""The figures of a class without scores."""


class Fineness(NamedTuple):
    """How much is kept.

    Attributes:
      exact_cells: up to how many scores (rows × classes) they are kept, and areas exact.
      bits: fineness of the bins beyond that.
      thresholds: at which rows are counted, ascending.
    """

    exact_cells: int
    bits: int
    thresholds: tuple[float, ...] = ()


class OneAgainstRest:
    """Sums over rows that name K classes; adds and merges."""

    def __init__(self, classes: int, fineness: Fineness) -> None:
        self.sample = ScoreSample(classes, fineness.exact_cells // classes, fineness.bits)
        self.counts = ThresholdCounts(classes, fineness.thresholds)
        self.weight = 0.0
        self.log_loss = np.zeros(classes)
        self.brier = np.zeros(classes)
        self.bins = np.zeros((4, classes, BINS))  # rows, weight, confidence, weight of the class's own rows

    def add(self, block: ClassScores) -> None:
        """Adds rows."""
        self.sample.add(block)
        self.counts.add(block)
        scores, weights = block.scores.astype(np.float64), block.weights
        of_truth = np.where(block.hits, scores, 1 - scores)
        self.weight += float(weights.sum())
        self.log_loss += weights @ -np.log(np.clip(of_truth, LEAST_PROBABILITY, 1))
        self.brier += weights @ np.square(1 - of_truth)
        flat = (bin_of(scores) + np.arange(scores.shape[1]) * BINS).ravel()
        every = np.broadcast_to(weights[:, None], scores.shape)
        for row, values in enumerate((None, every, every * scores, every * block.hits)):
            spread = None if values is None else values.ravel()
            self.bins[row] += np.bincount(flat, spread, self.bins[row].size).reshape(self.bins[row].shape)

    def merge(self, other: OneAgainstRest) -> None:
        """Adds what ``other``, of the same classes, has seen."""
        self.sample.merge(other.sample)
        self.counts.merge(other.counts)
        self.weight += other.weight
        self.log_loss += other.log_loss
        self.brier += other.brier
        self.bins += other.bins

    def figures(self, index: int) -> dict[str, Any]:
        """Returns the figures of class ``index``; the calibration error is over bins of its confidence."""
        sides = self.sample.sides(index)[1:]
        area, precision = roc_area(*sides, self.sample.exact), average_precision(*sides, self.sample.exact)
        gap = math.fsum(np.abs(self.bins[2, index] - self.bins[3, index]))
        return {
            "roc_auc": area.area,
            "roc_auc_error": area.error,
            "average_precision": precision.area,
            "average_precision_error": precision.error,
            "log_loss": ratio(float(self.log_loss[index]), self.weight),
            "brier_score": ratio(float(self.brier[index]), self.weight),
            "expected_calibration_error": ratio(gap, self.weight),
        }

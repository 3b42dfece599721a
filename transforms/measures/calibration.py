"""Whether a confidence of 80 % is right in 80 % of the rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from transforms.measures.batch import Floats, Ints, PredictionBatch
from transforms.measures.confusion import ratio

BINS = 15
"""Equal-width bins of the highest confidence; bin i holds (i/15, (i+1)/15], the first one 0 as well."""


class Calibration:
    """Rows, confidence and correctness in equal-width bins of the highest confidence."""

    def __init__(self) -> None:
        self.rows = np.zeros(BINS, np.int64)
        self.weight = np.zeros(BINS)
        self.confidence = np.zeros(BINS)
        self.correct = np.zeros(BINS)

    def add(self, batch: PredictionBatch) -> None:
        """Adds the rows of ``batch``."""
        index = bin_of(batch.confidence)
        self.rows += np.bincount(index, minlength=BINS)
        self.weight += np.bincount(index, batch.weights, BINS)
        self.confidence += np.bincount(index, batch.weights * batch.confidence, BINS)
        self.correct += np.bincount(index, batch.weights * batch.correct, BINS)

    def merge(self, other: Calibration) -> None:
        """Adds what ``other`` has seen."""
        self.rows += other.rows
        self.weight += other.weight
        self.confidence += other.confidence
        self.correct += other.correct

    def compute(self) -> float:
        """Returns the expected calibration error: Σ share of the bin × |accuracy − mean confidence|.

        C. Guo et al., On calibration of modern neural networks, ICML 2017; 0 is best, NaN without rows.
        """
        return ratio(math.fsum(np.abs(self.correct - self.confidence)), math.fsum(self.weight))

    def bins(self) -> list[dict[str, Any]]:
        """Returns the bins for a reliability diagram."""
        return describe_bins(np.stack([self.rows, self.weight, self.confidence, self.correct]))


def bin_of(confidence: Floats) -> Ints:
    """Returns the bin of each confidence in [0, 1]."""
    index: Ints = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return index


def describe_bins(sums: Floats) -> list[dict[str, Any]]:
    """Returns bins from rows, weight, confidence and correctness ``[4, BINS]``; an empty one has no figures."""
    return [
        {
            "lower": index / BINS,
            "upper": (index + 1) / BINS,
            "rows": int(rows),
            "confidence": ratio(confidence, weight),
            "accuracy": ratio(correct, weight),
        }
        for index, (rows, weight, confidence, correct) in enumerate(sums.T.tolist())
    ]

"""Whether the label is among the first k classes."""

from __future__ import annotations

import numpy as np

from transforms.measures.batch import PredictionBatch
from transforms.measures.confusion import NAN, ratio

TOP = (3, 5)
"""The k that are counted; 1 is accuracy itself."""


class TopK:
    """Weights of the rows whose label stands among the first k, for each k of TOP."""

    def __init__(self) -> None:
        self.weight = 0.0
        self.hits = [0.0] * len(TOP)
        self.shortest = -1  # shortest list seen, -1 for none

    def add(self, batch: PredictionBatch) -> None:
        """Adds the rows of ``batch``."""
        if not batch.rows:
            return
        self.weight += float(batch.weights.sum())
        for index, k in enumerate(TOP):
            hit = (batch.rank >= 0) & (batch.rank < k)
            self.hits[index] += float(batch.weights[hit].sum())
        self._shorten(int(np.min(batch.length)))

    def merge(self, other: TopK) -> None:
        """Adds what ``other`` has seen."""
        self.weight += other.weight
        self.hits = [mine + theirs for mine, theirs in zip(self.hits, other.hits, strict=True)]
        if other.shortest >= 0:
            self._shorten(other.shortest)

    def _shorten(self, length: int) -> None:
        self.shortest = length if self.shortest < 0 else min(self.shortest, length)

    def compute(self, classes: int) -> dict[str, float]:
        """Returns accuracy among the first k by k, for each k below the number of ``classes``.

        NaN for a k beyond the shortest list, since a cut list does not tell where the label would stand.
        """
        return {
            str(k): ratio(hits, self.weight) if k <= self.shortest else NAN
            for k, hits in zip(TOP, self.hits, strict=True)
            if k < classes
        }

"""What needs the confidence of every class: log loss, Brier score, and each class against the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from transforms.measures.batch import ClassScores, PredictionBatch
from transforms.measures.confusion import NAN, ratio
from transforms.measures.one_against_rest import LEAST_PROBABILITY, UNDEFINED, Fineness, OneAgainstRest


class Probabilities:
    """Sums over the rows that name every class there is.

    Which classes there are is known when all rows have been seen. Until then ``names`` is what has been
    named so far, and rows that lack one of them are dropped; whatever is left at the end does not depend on
    the order.
    """

    SUMS = 2

    def __init__(self, fineness: Fineness) -> None:
        self.fineness = fineness
        self.names: tuple[str, ...] = ()
        self._clear()

    def _clear(self) -> None:
        self.rows = 0
        self.weight = 0.0
        self.sums = np.zeros(self.SUMS)
        self.each: OneAgainstRest | None = None

    def add(self, batch: PredictionBatch) -> None:
        """Adds the complete rows of ``batch``."""
        if not batch.rows:
            return
        self._widen(batch.names)
        if batch.names != self.names or not len(batch.scores):
            return
        block = batch.class_scores()
        self.rows += len(block.scores)
        self.weight += float(block.weights.sum())
        self._see(batch, block)
        self._against_rest().add(block)

    def merge(self, other: Probabilities) -> None:
        """Adds what ``other`` has seen."""
        self._widen(other.names)
        if other.names != self.names or other.each is None:
            return
        self.rows += other.rows
        self.weight += other.weight
        self._join(other)
        self._against_rest().merge(other.each)

    def _join(self, other: Any) -> None:
        """Adds the sums of ``other``, which has the same classes."""
        self.sums += other.sums

    def _see(self, _batch: PredictionBatch, block: ClassScores) -> None:
        """Adds log loss and squared error, each row times its weight."""
        scores = block.scores.astype(np.float64)
        of_label = (scores * block.hits).sum(axis=1)
        squares = np.square(scores).sum(axis=1) - 2 * of_label + 1
        self.sums += np.stack([-np.log(np.clip(of_label, LEAST_PROBABILITY, 1)), squares]) @ block.weights

    def compact(self) -> None:
        """Joins what was kept in pieces."""
        if self.each is not None:
            self.each.sample.compact()

    def compute(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Returns log loss and Brier score over the complete rows, and how many those are.

        The Brier score is Σ (confidence − truth)² over the classes, halved for two classes, so that it is
        (p − y)² there. NaN when no row names all of ``names``.
        """
        here = self.rows if self.names == names else 0
        half = 0.5 if len(names) == 2 else 1.0
        return {
            "probability_rows": here,
            "log_loss": ratio(float(self.sums[0]), self.weight) if here else NAN,
            "brier_score": ratio(float(self.sums[1]) * half, self.weight) if here else NAN,
            "roc_auc_method": "exact" if self.each is None or self.each.sample.exact else "histogram",
        }

    def class_figures(self, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """Returns what OneAgainstRest tells of each of ``names``."""
        if self.each is None or self.names != names:
            return dict.fromkeys(names, UNDEFINED)
        return {name: self.each.figures(index) for index, name in enumerate(names)}

    def against_rest(self, names: tuple[str, ...]) -> OneAgainstRest | None:
        """Returns the classes against the rest when ``names`` are the classes."""
        return self.each if self.names == names else None

    def _widen(self, names: tuple[str, ...]) -> None:
        if names != self.names:
            union = tuple(sorted({*self.names, *names}))
            if union != self.names:
                self.names = union
                self._clear()

    def _against_rest(self) -> OneAgainstRest:
        if self.each is None:
            self.each = OneAgainstRest(len(self.names), self.fineness)
        return self.each

"""What needs the confidence of every class: log loss, Brier score, ROC AUC."""

from __future__ import annotations

from typing import Any

import numpy as np

from transforms.measures.auc import Auc, AucSample
from transforms.measures.batch import PredictionBatch
from transforms.measures.confusion import NAN, ratio

LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
"""The log loss takes a confidence of the label below this (2^-23) as this, so that a zero stays finite."""

NO_AUC = Auc(NAN, NAN)


class Probabilities:
    """Sums over the rows that name every class there is.

    Which classes there are is known when all rows have been seen. Until then ``names`` is what has been
    named so far, and rows that lack one of them are dropped; whatever is left at the end does not depend on
    the order.

    Args:
      exact_cells: up to how many scores (rows × classes) the AUC is exact.
      bits: fineness of the AUC's bins beyond that.
    """

    def __init__(self, exact_cells: int, bits: int) -> None:
        self.exact_cells = exact_cells
        self.bits = bits
        self.names: tuple[str, ...] = ()
        self._clear()

    def _clear(self) -> None:
        self.rows = 0
        self.weight = 0.0
        self.log_loss = 0.0
        self.brier = 0.0
        self.auc: AucSample | None = None

    def add(self, batch: PredictionBatch) -> None:
        """Adds the complete rows of ``batch``."""
        if not batch.rows:
            return
        self._widen(batch.names)
        if batch.names != self.names or not len(batch.scores):
            return
        column = batch.actual_column()
        weights = batch.weights[batch.complete]
        known = column >= 0
        scores = batch.scores.astype(np.float64)
        of_label = np.where(known, scores[np.arange(len(scores)), column], 0.0)
        squares = np.square(scores).sum(axis=1) - 2 * of_label + 1
        self.rows += len(scores)
        self.weight += float(weights.sum())
        self.log_loss += float(-np.log(np.clip(of_label, LEAST_PROBABILITY, 1)) @ weights)
        self.brier += float(squares @ weights)
        self._sample().add(batch.scores, column, weights)

    def merge(self, other: Probabilities) -> None:
        """Adds what ``other`` has seen."""
        self._widen(other.names)
        if other.names != self.names or other.auc is None:
            return
        self.rows += other.rows
        self.weight += other.weight
        self.log_loss += other.log_loss
        self.brier += other.brier
        self._sample().merge(other.auc)

    def compact(self) -> None:
        """Joins what was kept in pieces."""
        if self.auc is not None:
            self.auc.compact()

    def compute(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Returns log loss and Brier score over the complete rows, and how many those are.

        The Brier score is Σ (confidence − truth)² over the classes, halved for two classes, so that it is
        (p − y)² there. NaN when no row names all of ``names``.
        """
        here = self.rows if self.names == names else 0
        half = 0.5 if len(names) == 2 else 1.0
        return {
            "probability_rows": here,
            "log_loss": ratio(self.log_loss, self.weight) if here else NAN,
            "brier_score": ratio(self.brier * half, self.weight) if here else NAN,
        }

    def areas(self, names: tuple[str, ...]) -> dict[str, Auc]:
        """Returns the ROC AUC of each class against the rest."""
        if self.auc is None or self.names != names:
            return dict.fromkeys(names, NO_AUC)
        return dict(zip(names, self.auc.compute(), strict=True))

    def _widen(self, names: tuple[str, ...]) -> None:
        if names != self.names:
            union = tuple(sorted({*self.names, *names}))
            if union != self.names:
                self.names = union
                self._clear()

    def _sample(self) -> AucSample:
        if self.auc is None:
            classes = len(self.names)
            self.auc = AucSample(classes, self.exact_cells // classes, self.bits)
        return self.auc

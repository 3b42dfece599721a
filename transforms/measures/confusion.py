"""What was predicted against what is: the counts from which accuracy, precision, recall and F1 follow."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from transforms.measures.batch import PredictionBatch

NAN = math.nan
CONFIDENCE_95 = 1.959963984540054
"""The quantile of the normal distribution for an interval of 95 %."""

Cell = tuple[str, str]


def ratio(numerator: float, denominator: float) -> float:
    """Returns the quotient, NaN when the denominator is zero."""
    return numerator / denominator if denominator else NAN


def mean_of_defined(values: list[float]) -> float:
    """Returns the mean of the values that are not NaN, NaN when none is."""
    defined = [value for value in values if not math.isnan(value)]
    return ratio(math.fsum(defined), len(defined))


def wilson_interval(share: float, rows: float, quantile: float = CONFIDENCE_95) -> tuple[float, float]:
    """Returns Wilson's score interval of a share that was observed in ``rows`` trials; NaN for none.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    if not rows:
        return NAN, NAN
    square = quantile * quantile / rows
    centre = (share + square / 2) / (1 + square)
    half = quantile / (1 + square) * math.sqrt(max(share * (1 - share), 0.0) / rows + square / (4 * rows))
    return (0.0 if share <= 0 else max(centre - half, 0.0)), (1.0 if share >= 1 else min(centre + half, 1.0))


class Confusion:
    """Rows and weights by (label, prediction), and whatever follows from them."""

    def __init__(self) -> None:
        self.rows: dict[Cell, int] = {}
        self.weights: dict[Cell, float] = {}
        self.squared_weights = 0.0

    def add(self, batch: PredictionBatch) -> None:
        """Counts the rows of ``batch``."""
        width = len(batch.classes)
        cells, inverse = np.unique(batch.actual * width + batch.predicted, return_inverse=True)
        rows = np.bincount(inverse, minlength=len(cells))
        weights = np.bincount(inverse, weights=batch.weights, minlength=len(cells))
        for cell, count, weight in zip(cells.tolist(), rows.tolist(), weights.tolist(), strict=True):
            key = (batch.classes[cell // width], batch.classes[cell % width])
            self._count(key, count, weight)
        self.squared_weights += float(np.square(batch.weights).sum())

    def merge(self, other: Confusion) -> None:
        """Adds what ``other`` has counted."""
        for key, count in other.rows.items():
            self._count(key, count, other.weights[key])
        self.squared_weights += other.squared_weights

    def _count(self, key: Cell, rows: int, weight: float) -> None:
        self.rows[key] = self.rows.get(key, 0) + rows
        self.weights[key] = self.weights.get(key, 0.0) + weight

    @property
    def total(self) -> int:
        """How many rows were counted."""
        return sum(self.rows.values())

    def labels(self) -> set[str]:
        """Returns the classes that occur as a label or as a prediction."""
        return {name for cell in self.rows for name in cell}

    def compute(self) -> dict[str, Any]:
        """Returns accuracy with its 95 % interval, and the majority class with the accuracy it would have.

        The interval takes the effective number of rows, (Σ weight)² / Σ weight², which is their number when
        none is weighted. Of several majority classes the first by name is given.
        """
        total = math.fsum(self.weights.values())
        correct = math.fsum(weight for (actual, predicted), weight in self.weights.items() if actual == predicted)
        accuracy = ratio(correct, total)
        effective = ratio(total * total, self.squared_weights) if total else 0.0
        support = self._sums(0)
        majority = min(support, key=lambda name: (-support[name], name)) if support else None
        return {
            "rows": self.total,
            "weight": total,
            "accuracy": accuracy,
            "accuracy_interval": list(wilson_interval(accuracy, effective)),
            "majority_class": majority,
            "majority_accuracy": ratio(support[majority], total) if majority is not None else NAN,
        }

    def per_class(self, names: Collection[str]) -> list[dict[str, Any]]:
        """Returns support, accuracy against the rest, precision, recall and F1 of ``names``, in their order.

        Precision of a class that is never predicted and recall of one that has no row are NaN; so is F1 when
        both are missing.
        """
        actual, predicted = self._sums(0), self._sums(1)
        total, rows = math.fsum(self.weights.values()), self.total
        support, called = _count_sums(self.rows, 0), _count_sums(self.rows, 1)
        figures = []
        for name in names:
            hit = self.weights.get((name, name), 0.0)
            positives, calls = actual.get(name, 0.0), predicted.get(name, 0.0)
            figures.append(
                {
                    "name": name,
                    "support": support.get(name, 0),
                    "negatives": rows - support.get(name, 0),
                    "predicted": called.get(name, 0),
                    "true_positives": self.rows.get((name, name), 0),
                    "accuracy": ratio(total - positives - calls + 2 * hit, total),
                    "precision": ratio(hit, calls),
                    "recall": ratio(hit, positives),
                    "f1": ratio(2 * hit, positives + calls),
                }
            )
        return figures

    def matrix(self, names: list[str]) -> dict[str, Any]:
        """Returns rows, and weights when they differ, by label (down) and prediction (across)."""
        rows = [[self.rows.get((actual, predicted), 0) for predicted in names] for actual in names]
        weights = [[self.weights.get((actual, predicted), 0.0) for predicted in names] for actual in names]
        return {"rows": rows, "weights": None if weights == rows else weights}

    def largest(self, limit: int) -> list[dict[str, Any]]:
        """Returns the ``limit`` most frequent mistakes, most frequent first."""
        wrong = sorted((-count, cell) for cell, count in self.rows.items() if cell[0] != cell[1] and count)
        return [{"label": cell[0], "prediction": cell[1], "rows": -count} for count, cell in wrong[:limit]]

    def _sums(self, side: int) -> dict[str, float]:
        parts: dict[str, list[float]] = {}
        for cell, weight in self.weights.items():
            parts.setdefault(cell[side], []).append(weight)
        return {name: math.fsum(values) for name, values in parts.items()}


def _count_sums(rows: dict[Cell, int], side: int) -> dict[str, int]:
    sums: dict[str, int] = {}
    for cell, count in rows.items():
        sums[cell[side]] = sums.get(cell[side], 0) + count
    return sums

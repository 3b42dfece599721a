"""Several labels a row: a class is predicted when the model says so, else above a confidence of one half."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from transforms.measures.batch import ClassScores, Floats, PredictionBatch
from transforms.measures.calibration import BINS, describe_bins
from transforms.measures.confusion import NAN, mean_of_defined, ratio, wilson_interval
from transforms.measures.one_against_rest import UNDEFINED, Fineness
from transforms.measures.probabilities import Probabilities

DECISION = 0.5
"""Where predictions do not say it themselves, a class is predicted when its confidence is strictly above this."""


class LabelSetMeasures(Probabilities):
    """Every metric of one group of rows that have sets of labels; only rows that name every class count."""

    SUMS = 4

    def __init__(self, exact_cells: int, bits: int, thresholds: tuple[float, ...] = ()) -> None:
        super().__init__(Fineness(exact_cells, bits, thresholds))

    def _clear(self) -> None:
        super()._clear()
        self.cells = np.zeros((2, 4, len(self.names)))  # rows and weight of hits, misses, false alarms and the rest

    def _join(self, other: Any) -> None:
        super()._join(other)
        self.cells += other.cells

    def _see(self, batch: PredictionBatch, block: ClassScores) -> None:
        """Adds exact matches, Hamming loss, F1 and Jaccard index, each row times its weight, and the decisions."""
        decided, hits = block.scores > DECISION if batch.decided is None else batch.decided, block.hits
        both, either = (decided & hits).sum(axis=1), (decided | hits).sum(axis=1)
        either = np.maximum(either, 1)  # nothing named and nothing known: both figures are 0
        wrong = (decided != hits).mean(axis=1)
        parts = (batch.correct[batch.complete], wrong, 2 * both / (either + both), both / either)
        self.sums += np.stack(parts) @ block.weights
        sides = np.stack([decided & hits, ~decided & hits, decided & ~hits, ~decided & ~hits])
        self.cells[0] += sides.sum(axis=1)
        self.cells[1] += np.einsum("srk,r->sk", sides, block.weights)

    def compute(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Returns all figures, in the keys of GroupMeasures, and those of label sets beside them."""
        each = self.against_rest(names)
        exact, hamming, f1, jaccard = (ratio(float(value), self.weight) for value in self.sums)
        squared = float(each.counts.squared_weights[:, 0].sum()) if each else 0.0
        classes = self.class_figures_of(names)
        means = {
            name: mean_of_defined([entry[name] for entry in classes])
            for name in ("precision", "recall", "f1", "roc_auc", "average_precision")
        }
        losses = {
            name: mean_of_defined([entry[name] for entry in classes])
            for name in ("log_loss", "brier_score", "expected_calibration_error")
        }
        return {
            "rows": self.rows,
            "weight": self.weight,
            "accuracy": exact,
            "accuracy_interval": list(wilson_interval(exact, ratio(self.weight**2, squared) if squared else 0.0)),
            "majority_class": None,
            "majority_accuracy": NAN,
            "macro": means,
            "top_k_accuracy": {},
            **super().compute(names),
            **losses,
            "label_sets": {"hamming_loss": hamming, "f1": f1, "jaccard_index": jaccard, "micro": self._micro(names)},
            "classes": classes,
        }

    def class_figures_of(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Returns the figures of each class, by name."""
        each, figures = self.against_rest(names), self.class_figures(names)
        found = []
        for index, name in enumerate(names):
            counts = _decisions(self.cells[..., index] if each else np.zeros((2, 4)))
            found.append({"name": name, "known": True, **counts, **figures.get(name, UNDEFINED)})
        return found

    def matrix(self, _names: list[str]) -> dict[str, Any]:
        """Returns no matrix: sets of labels have none."""
        return {"rows": None, "weights": None}

    def largest(self, _limit: int) -> list[dict[str, Any]]:
        """Returns no confusions: sets of labels have none."""
        return []

    def calibration_bins(self) -> list[dict[str, Any]]:
        """Returns the bins of all classes' confidences together."""
        return describe_bins(self.each.bins.sum(axis=1) if self.each else np.zeros((4, BINS)))

    def _micro(self, names: tuple[str, ...]) -> dict[str, float]:
        cells = self.cells if self.names == names else np.zeros((2, 4, 1))
        figures = _decisions(cells.sum(axis=2))
        return {name: figures[name] for name in ("precision", "recall", "f1")}


def _decisions(cells: Floats) -> dict[str, Any]:
    """Counts and shares from the rows and weights of hits, misses, false alarms and the rest, ``[2, 4]``."""
    hit, missed, alarm, passed = (int(value) for value in cells[0])
    counts = {
        "support": hit + missed,
        "negatives": alarm + passed,
        "predicted": hit + alarm,
        "true_positives": hit,
    }
    right, lost, false, rest = cells[1].tolist()
    return counts | {
        "accuracy": ratio(right + rest, math.fsum(cells[1])),
        "precision": ratio(right, right + false),
        "recall": ratio(right, right + lost),
        "f1": ratio(2 * right, 2 * right + false + lost),
    }

"""Several labels a row: a class is predicted when its confidence is above one half."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from transforms.measures.batch import ClassScores, Floats, PredictionBatch
from transforms.measures.calibration import BINS, describe_bins
from transforms.measures.confusion import NAN, mean_of_defined, ratio, wilson_interval
from transforms.measures.one_against_rest import UNDEFINED, Fineness, OneAgainstRest
from transforms.measures.probabilities import Probabilities

DECISION = 0.5
"""A class is predicted when its confidence is strictly above this."""


class LabelSetMeasures(Probabilities):
    """Every metric of one group of rows that have sets of labels; only rows that name every class count."""

    SUMS = 4

    def __init__(self, exact_cells: int, bits: int, thresholds: tuple[float, ...] = ()) -> None:
        super().__init__(Fineness(exact_cells, bits, tuple(sorted({*thresholds, DECISION}))))

    def _sum(self, batch: PredictionBatch, block: ClassScores) -> Floats:
        """Exact matches, Hamming loss, F1 and Jaccard index, each row times its weight."""
        decided, hits = block.scores > DECISION, block.hits
        both, either = (decided & hits).sum(axis=1), (decided | hits).sum(axis=1)
        either = np.maximum(either, 1)  # nothing named and nothing known: both figures are 0
        parts = (
            batch.correct[batch.complete],
            (decided != hits).mean(axis=1),
            2 * both / (either + both),
            both / either,
        )
        return np.stack(parts) @ block.weights

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
            "label_sets": {"hamming_loss": hamming, "f1": f1, "jaccard_index": jaccard, "micro": self._micro(each)},
            "classes": classes,
        }

    def class_figures_of(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Returns the figures of each class, by name."""
        each, figures = self.against_rest(names), self.class_figures(names)
        found = []
        for index, name in enumerate(names):
            counts = _decisions(each, index) if each else dict.fromkeys(_COUNTS, 0) | dict.fromkeys(_SHARES, NAN)
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

    def _micro(self, each: OneAgainstRest | None) -> dict[str, float]:
        if each is None:
            return dict.fromkeys(("precision", "recall", "f1"), NAN)
        place = each.counts.at((DECISION,))
        hit, missed, alarm, _ = each.counts.cells(each.counts.weights)[..., place].sum(axis=(1, 2)).tolist()
        return {
            "precision": ratio(hit, hit + alarm),
            "recall": ratio(hit, hit + missed),
            "f1": ratio(2 * hit, 2 * hit + alarm + missed),
        }


_COUNTS = ("support", "negatives", "predicted", "true_positives")
_SHARES = ("accuracy", "precision", "recall", "f1")


def _decisions(each: OneAgainstRest, index: int) -> dict[str, Any]:
    place = each.counts.at((DECISION,))
    hit, missed, alarm, passed = each.counts.cells(each.counts.rows[:, index])[:, place].ravel().tolist()
    counts = dict(zip(_COUNTS, (hit + missed, alarm + passed, hit + alarm, hit), strict=True))
    hit, missed, alarm, passed = each.counts.cells(each.counts.weights[:, index])[:, place].ravel().tolist()
    total = math.fsum((hit, missed, alarm, passed))
    shares = (ratio(hit + passed, total), ratio(hit, hit + alarm), ratio(hit, hit + missed))
    return counts | dict(zip(_SHARES, (*shares, ratio(2 * hit, 2 * hit + alarm + missed)), strict=True))

"""Rows above and below thresholds, each class against the rest: exact counts, and the rates that follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.measures.batch import ClassScores, Floats, Ints

_HIT, _MISSED, _ALARM, _PASSED = range(4)
_ALL = [_HIT, _MISSED, _ALARM, _PASSED]
_FRACTIONS = {  # cells, and those that they are a share of
    "false_positive_rate": ([_ALARM], [_ALARM, _PASSED]),
    "true_positive_rate": ([_HIT], [_HIT, _MISSED]),
    "false_negative_rate": ([_MISSED], [_HIT, _MISSED]),
    "true_negative_rate": ([_PASSED], [_ALARM, _PASSED]),
    "positive_rate": ([_HIT, _ALARM], _ALL),
    "negative_rate": ([_MISSED, _PASSED], _ALL),
    "false_discovery_rate": ([_ALARM], [_HIT, _ALARM]),
    "false_omission_rate": ([_MISSED], [_MISSED, _PASSED]),
    "precision": ([_HIT], [_HIT, _ALARM]),
    "recall": ([_HIT], [_HIT, _MISSED]),
}

RATES = tuple(_FRACTIONS)
"""In the order in which ``rates`` gives them."""

CURVE = tuple(np.round([0.0, 0.001, 0.002, 0.005, *np.arange(1, 100) / 100, 0.995, 0.998, 0.999], 3).tolist())
"""Thresholds of the curves of a whole collection."""


class ThresholdCounts:
    """Rows and weights by class, side and the thresholds that the score lies strictly above.

    Args:
      classes: K.
      thresholds: ascending, T of them.
    """

    def __init__(self, classes: int, thresholds: tuple[float, ...]) -> None:
        self.thresholds = thresholds
        shape = 2, classes, len(thresholds) + 1
        self.rows = np.zeros(shape, np.int64)  # side 0 the class's own rows, side 1 all others
        self.weights = np.zeros(shape)
        self.squared_weights = np.zeros(shape)

    def add(self, block: ClassScores) -> None:
        """Counts rows."""
        scores, hits, weights = block
        edges = edges_of(self.thresholds, scores)
        code = np.searchsorted(edges, scores, side="left")
        _, classes, bins = self.rows.shape
        flat = (np.where(hits, 0, classes) + np.arange(classes)) * bins + code
        size, spread = self.rows.size, np.broadcast_to(weights[:, None], scores.shape).ravel()
        flat = flat.ravel()
        self.rows += np.bincount(flat, minlength=size).reshape(self.rows.shape)
        self.weights += np.bincount(flat, spread, size).reshape(self.rows.shape)
        self.squared_weights += np.bincount(flat, np.square(spread), size).reshape(self.rows.shape)

    def merge(self, other: ThresholdCounts) -> None:
        """Adds what ``other``, of the same classes and thresholds, has counted."""
        self.rows += other.rows
        self.weights += other.weights
        self.squared_weights += other.squared_weights

    def cells(self, values: Any) -> Any:
        """Returns true positives, false negatives, false positives and true negatives, ``[4, K, T]``.

        Args:
          values: ``rows``, ``weights`` or ``squared_weights``.
        """
        above = np.cumsum(values[..., ::-1], axis=-1)[..., -2::-1]
        below = np.cumsum(values, axis=-1)[..., :-1]  # the difference to all of them might round to less than 0
        return np.stack([above[0], below[0], above[1], below[1]])

    def at(self, thresholds: tuple[float, ...]) -> Ints:
        """Returns the place of each of ``thresholds``, which must be among those that are counted."""
        return np.searchsorted(np.array(self.thresholds), np.array(thresholds))


def edges_of(thresholds: Any, scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns thresholds in the precision of the scores: a float32 of 0.1 is not above the threshold 0.1."""
    return np.array(thresholds).astype(scores.dtype)


def rates(cells: Floats) -> Floats:
    """Returns RATES ``[10, ...]`` of ``cells[4, ...]`` as ThresholdCounts.cells gives them; NaN for 0/0."""
    over = [(cells[part].sum(axis=0), cells[base].sum(axis=0)) for part, base in _FRACTIONS.values()]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([np.where(below > 0, above / below, np.nan) for above, below in over])


def rates_trials(weights: Floats, squared: Floats) -> Floats:
    """Returns the effective number of rows behind each of RATES, ``[10, ...]``, from cells ``[4, ...]``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack(
            [np.square(weights[base].sum(axis=0)) / squared[base].sum(axis=0) for _, base in _FRACTIONS.values()]
        )

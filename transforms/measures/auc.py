"""Area under the ROC curve, one class against the rest: exact while the scores fit, bounded beyond."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.measures.batch import Floats, Ints
from transforms.measures.confusion import NAN

_OCTAVES = 24  # below 2^-25 from either end all scores share a bin


class Auc(NamedTuple):
    """The area, NaN when a side is empty, and by how much it may be off (0 when it is exact)."""

    area: float
    error: float


class _Block(NamedTuple):
    scores: npt.NDArray[Any]  # [n, classes]
    column: Ints  # of the label, -1 when no class is
    weights: Floats


class _Histograms(NamedTuple):
    positive: Floats  # weight of the class's own rows, [classes, bins]
    negative: Floats  # of all other rows


class AucSample:
    """Scores of N rows for K classes with the class that each row has.

    Up to ``exact_rows`` rows the scores are kept and the areas are exact. Beyond that only a histogram is
    kept, whose bins are fixed and finer towards 0 and 1 (2^-bits of the distance to the nearer end). Rows
    are binned one by one, so when the change happens makes no difference to what comes out.

    Args:
      classes: K.
      exact_rows: up to how many rows the scores are kept.
      bits: fineness of the bins; there are ``48 · 2^bits + 1`` a class.
    """

    def __init__(self, classes: int, exact_rows: int, bits: int) -> None:
        self.classes = classes
        self.exact_rows = exact_rows
        self.bits = bits
        self.rows = 0
        self._blocks: list[_Block] = []
        self._histograms: _Histograms | None = None

    @property
    def exact(self) -> bool:
        """Whether the scores themselves are still there."""
        return self.rows <= self.exact_rows

    def add(self, scores: npt.NDArray[Any], column: Ints, weights: Floats) -> None:
        """Adds ``scores[n, K]`` in [0, 1], the column of each row's class (-1: none) and ``weights[n]``."""
        self.rows += len(scores)
        self._blocks.append(_Block(scores, column, weights))
        if not self.exact:
            self._fold()

    def merge(self, other: AucSample) -> None:
        """Adds what ``other``, of the same classes and settings, has seen."""
        self.rows += other.rows
        self._blocks.extend(other._blocks)
        if other._histograms is not None:
            mine = self._start()
            for histogram, theirs in zip(mine, other._histograms, strict=True):
                histogram += theirs
        if not self.exact:
            self._fold()

    def compact(self) -> None:
        """Joins the blocks, before they are sent to another worker."""
        if len(self._blocks) > 1:
            self._blocks = [_Block(*(np.concatenate(parts) for parts in zip(*self._blocks, strict=True)))]

    def compute(self) -> list[Auc]:
        """Returns the area of each class."""
        self.compact()
        if not self.rows:
            return [Auc(NAN, NAN)] * self.classes
        if self.exact:
            scores, column, weights = self._blocks[0]
            return [Auc(exact_area(scores[:, index], column == index, weights), 0.0) for index in range(self.classes)]
        histograms = self._start()
        return [binned_area(*sides) for sides in zip(*histograms, strict=True)]

    def _start(self) -> _Histograms:
        if self._histograms is None:
            shape = self.classes, bin_count(self.bits)
            self._histograms = _Histograms(np.zeros(shape), np.zeros(shape))
        return self._histograms

    def _fold(self) -> None:
        histograms = self._start()
        bins = bin_count(self.bits)
        for scores, column, weights in self._blocks:
            code = score_bins(scores, self.bits) + np.arange(self.classes) * bins
            hit = column[:, None] == np.arange(self.classes)
            spread = np.broadcast_to(weights[:, None], scores.shape)
            for histogram, mask in zip(histograms, (hit, ~hit), strict=True):
                flat = np.bincount(code[mask], spread[mask], self.classes * bins)
                histogram += flat.reshape(self.classes, bins)
        self._blocks = []


def exact_area(scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_], weights: Floats) -> float:
    """Returns the weighted share of (positive, negative) pairs in the right order, ties counted half.

    Args:
      scores: ``[n]``.
      positive: ``[n]``.
      weights: ``[n]``.
    """
    _, place = np.unique(scores, return_inverse=True)
    above = np.bincount(place, weights * positive).astype(np.float64)
    below = np.bincount(place, weights * ~positive).astype(np.float64)
    return binned_area(above, below).area


def binned_area(positive: Floats, negative: Floats) -> Auc:
    """Returns the area from weights per bin, lowest scores first.

    Pairs within one bin count half, so the area is off by at most half of their share.
    """
    pairs = float(positive.sum()) * float(negative.sum())
    if not pairs:
        return Auc(NAN, NAN)
    lower = np.cumsum(negative) - negative
    tied = float(positive @ negative)
    return Auc((float(positive @ lower) + tied / 2) / pairs, tied / 2 / pairs)


def bin_count(bits: int) -> int:
    """Returns how many bins there are."""
    return 2 * (_OCTAVES << bits) + 1


def score_bins(scores: npt.NDArray[Any], bits: int) -> Ints:
    """Returns the bin of each score in [0, 1], a monotone function of it.

    The leading bits of the float32 that holds the distance to the nearer end are its bin: the exponent and
    ``bits`` of the mantissa. No logarithm, so that the bins are the same on every machine.
    """
    near = np.minimum(scores, 1 - scores).astype(np.float32)
    leading = near.view(np.uint32).astype(np.int64) >> (23 - bits)
    middle = _OCTAVES << bits
    distance = np.clip(leading - ((126 - _OCTAVES) << bits), 0, middle)
    code: Ints = np.where(scores > 0.5, 2 * middle - distance, distance)
    return code

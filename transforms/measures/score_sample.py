"""Scores of each class against the rest: kept while they fit, so that areas are exact, and binned beyond."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.measures.batch import ClassScores, Floats, Ints

_OCTAVES = 24  # below 2^-25 from either end all scores share a bin


class Sides(NamedTuple):
    """Weights by score or bin, lowest first: of the class's own rows, and of all others."""

    keys: npt.NDArray[Any]
    positive: Floats
    negative: Floats


class _Histograms(NamedTuple):
    positive: Floats  # weight of the class's own rows, [classes, bins]
    negative: Floats  # of all other rows


class ScoreSample:
    """Scores of N rows for K classes with the classes that each row has.

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
        self._blocks: list[ClassScores] = []
        self._histograms: _Histograms | None = None

    @property
    def exact(self) -> bool:
        """Whether the scores themselves are still there."""
        return self.rows <= self.exact_rows

    def add(self, block: ClassScores) -> None:
        """Adds rows."""
        self.rows += len(block.scores)
        self._blocks.append(block)
        if not self.exact:
            self._fold()

    def merge(self, other: ScoreSample) -> None:
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
            self._blocks = [ClassScores(*(np.concatenate(parts) for parts in zip(*self._blocks, strict=True)))]

    def sides(self, index: int) -> Sides:
        """Returns the weights of class ``index`` by score while those are there, else by bin."""
        if not self.exact:
            positive, negative = (side[index] for side in self._start())
            return Sides(np.arange(len(positive)), positive, negative)
        self.compact()
        if not self._blocks:
            return Sides(np.zeros(0), np.zeros(0), np.zeros(0))
        scores, hits, weights = self._blocks[0]
        return score_sides(scores[:, index], hits[:, index], weights)

    def binned(self, index: int, bits: int) -> Sides:
        """Returns the weights of class ``index`` by bin of a fineness not above the sample's own."""
        keys, positive, negative = self.sides(index)
        bins = bin_count(bits)
        code = score_bins(keys, bits) if self.exact else coarser_bins(self.bits, bits)
        counted = (np.bincount(code, side, bins).astype(np.float64) for side in (positive, negative))
        return Sides(np.arange(bins), *counted)

    def _start(self) -> _Histograms:
        if self._histograms is None:
            shape = self.classes, bin_count(self.bits)
            self._histograms = _Histograms(np.zeros(shape), np.zeros(shape))
        return self._histograms

    def _fold(self) -> None:
        histograms = self._start()
        bins = bin_count(self.bits)
        for scores, hits, weights in self._blocks:
            code = score_bins(scores, self.bits) + np.arange(self.classes) * bins
            spread = np.broadcast_to(weights[:, None], scores.shape)
            for histogram, mask in zip(histograms, (hits, ~hits), strict=True):
                flat = np.bincount(code[mask], spread[mask], self.classes * bins)
                histogram += flat.reshape(self.classes, bins)
        self._blocks = []


def score_sides(scores: npt.NDArray[Any], hits: npt.NDArray[np.bool_], weights: Floats) -> Sides:
    """Returns the weights of ``hits`` and of the others by score; all three are ``[n]``."""
    keys, place = np.unique(scores, return_inverse=True)
    sides = (np.bincount(place, weights * side, len(keys)).astype(np.float64) for side in (hits, ~hits))
    return Sides(keys, *sides)


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


def coarser_bins(fine: int, coarse: int) -> Ints:
    """Returns the bin of fineness ``coarse`` that each bin of fineness ``fine`` lies in."""
    middle, code = _OCTAVES << fine, np.arange(bin_count(fine))
    distance = np.minimum(code, 2 * middle - code) >> (fine - coarse)
    bins: Ints = np.where(code > middle, 2 * (_OCTAVES << coarse) - distance, distance)
    return bins

"""A slice against the rest of the rows, one class against the others: areas, equality gaps, rates by threshold.

D. Borkan et al., Nuanced metrics for measuring unintended bias with real data for text classification, 2019.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.measures.areas import roc_area, roc_areas
from transforms.measures.batch import Floats
from transforms.measures.bootstrap import Shares, gap_intervals, generator, intervals, replicates, share_intervals
from transforms.measures.confusion import wilson_interval
from transforms.measures.one_against_rest import OneAgainstRest
from transforms.measures.score_sample import Sides
from transforms.measures.thresholds import RATES, rates, rates_trials

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""At which the rates are given, beside any that are asked for."""

AREAS = ("subgroup_auc", "bpsn_auc", "bnsp_auc", "negative_aeg", "positive_aeg")

_DRAWN_BINS = 64

_FEWEST = 2  # rows of a side; drawing a single row again and again tells nothing


class Fairness:
    """Compares slices with the rows outside them.

    Args:
      overall: of all rows.
      classes: by name, their places in ``overall``.
      thresholds: ascending; among those that ``overall`` and the slices count.
      draws: of the bootstrap.
      seed: of the bootstrap.
    """

    def __init__(
        self, overall: OneAgainstRest, classes: dict[str, int], thresholds: tuple[float, ...], draws: int, seed: int
    ) -> None:
        self.overall = overall
        self.classes = classes
        self.thresholds = thresholds
        self.draws = draws
        self.seed = seed
        self._sides = functools.cache(overall.sample.sides)
        self._binned = functools.cache(overall.sample.binned)
        self._all = functools.cache(lambda index: self._cells(overall, index))

    def whole(self) -> list[dict[str, Any]]:
        """Returns counts and rates of all rows, an object a class."""
        figures = []
        for name, index in self.classes.items():
            inside = self._cells(self.overall, index)
            entry = {"name": name, **self._counts(self.overall, index)}
            figures.append(entry | {"thresholds": self._rates(inside, None, generator(self.seed, name))})
        return figures

    def of_slice(self, words: tuple[str, ...], each: OneAgainstRest) -> list[dict[str, Any]]:
        """Returns counts, areas, equality gaps and rates of a slice, an object a class; ``words`` name the slice."""
        figures = []
        for name, index in self.classes.items():
            chance = generator(self.seed, name, *words)
            inside = self._cells(each, index)
            outside = _outside(self._all(index), inside)
            entry = {"name": name, **self._counts(each, index), **self._areas(each, index, chance)}
            figures.append(entry | {"thresholds": self._rates(inside, outside, chance)})
        return figures

    def _counts(self, each: OneAgainstRest, index: int) -> dict[str, int]:
        positives, negatives = each.counts.rows[:, index].sum(axis=1).tolist()
        return {"positives": positives, "negatives": negatives}

    def _cells(self, each: OneAgainstRest, index: int) -> tuple[Any, Any, Any]:
        """Rows, weights and squared weights of the four cells by threshold, each ``[4, T]``."""
        counts, place = each.counts, each.counts.at(self.thresholds)
        kinds = (counts.rows, counts.weights, counts.squared_weights)
        rows, weights, squared = (counts.cells(kind[:, index])[:, place] for kind in kinds)
        return rows, weights, squared

    def _rates(
        self, inside: tuple[Any, ...], outside: tuple[Any, ...] | None, chance: np.random.Generator
    ) -> list[dict[str, Any]]:
        mine = self._drawn_rates(inside, chance)
        gap = gap_lower = gap_upper = None
        if outside is not None:
            rest = self._drawn_rates(outside, chance)
            gap = mine.shares - rest.shares
            gap_lower, gap_upper = gap_intervals(mine, rest)
        found = []
        for place, threshold in enumerate(self.thresholds):
            hit, missed, alarm, passed = inside[0][:, place].tolist()
            entry: dict[str, Any] = {
                "threshold": threshold,
                "true_positives": hit,
                "false_negatives": missed,
                "false_positives": alarm,
                "true_negatives": passed,
            }
            for row, name in enumerate(RATES):
                entry[name] = {"value": float(mine.shares[row, place]), "interval": _pair(*mine.ends, row, place)}
                if gap is not None:
                    entry[name] |= {
                        "gap": float(gap[row, place]),
                        "gap_interval": _pair(gap_lower, gap_upper, row, place),
                    }
            found.append(entry)
        return found

    def _drawn_rates(self, cells: tuple[Any, ...], chance: np.random.Generator) -> Shares:
        _, weights, squared = cells
        shares = rates(weights)
        draws = rates(replicates(chance, weights, squared, self.draws).swapaxes(0, 1)).swapaxes(0, 1)
        return Shares(shares, draws, share_intervals(shares, draws, rates_trials(weights, squared)))

    def _areas(self, each: OneAgainstRest, index: int, chance: np.random.Generator) -> dict[str, Any]:
        exact = each.sample.exact and self.overall.sample.exact
        inside, outside = self._split(each, index, exact)
        points = dict(zip(AREAS, _areas_of(inside, outside, exact), strict=True))
        squared = each.counts.squared_weights[:, index].sum(axis=1)
        background = np.maximum(self.overall.counts.squared_weights[:, index].sum(axis=1) - squared, 0)
        drawn_sides, fewest = [], _fewest(each.counts.rows[:, index], self.overall.counts.rows[:, index])
        rough = _rebin(np.stack([*inside, *outside]))
        for side, total in zip(rough, (*squared, *background), strict=True):
            weight = side.sum()
            scaled = side * (total / weight) if weight else side
            drawn_sides.append(replicates(chance, side, scaled, self.draws))
        drawn = _area_arrays(*drawn_sides)
        centre = _area_arrays(*rough)
        figures = {}
        for name, draws, middle in zip(AREAS, drawn, centre, strict=True):
            value, error = points[name]
            lower, upper = intervals(draws + (value - middle))
            least = -0.5 if name.endswith("aeg") else 0.0
            ends = [min(max(float(end), least), least + 1) for end in (lower, upper)]
            if value - least in (0.0, 1.0):  # no draw of rows can move it
                ends = [end + least for end in wilson_interval(value - least, fewest[name])]
            if np.isnan(value) or fewest[name] < _FEWEST:
                ends = [np.nan, np.nan]
            figures[name] = {"value": value, "error": error, "interval": ends}
        return figures

    def _split(self, each: OneAgainstRest, index: int, exact: bool) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
        """Positive and negative weights inside and outside the slice, by common scores or bins."""
        if exact:
            whole, part = self._sides(index), each.sample.sides(index)
            place = np.searchsorted(whole.keys, part.keys)
            inside = (_scatter(part.positive, place, whole), _scatter(part.negative, place, whole))
        else:
            bits = min(each.sample.bits, self.overall.sample.bits)
            whole, part = self._binned(index, bits), each.sample.binned(index, bits)
            inside = (part.positive, part.negative)
        least = 1e-9 * max(float(whole.positive.sum() + whole.negative.sum()), 1.0)
        rest = (whole.positive - inside[0], whole.negative - inside[1])
        return inside, tuple(np.where(side > least, side, 0.0) for side in rest)


def _outside(whole: tuple[Any, ...], inside: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cells of the rows outside a slice; where there are none, sums of weights leave no rounding behind."""
    rows, *sums = (every - part for every, part in zip(whole, inside, strict=True))
    return rows, *(np.where(rows > 0, np.maximum(total, 0), 0) for total in sums)


def _fewest(inside: Any, everywhere: Any) -> dict[str, int]:
    """The rows of the smaller side of each of AREAS."""
    positives, negatives = inside.sum(axis=1).tolist()
    others, rest = (everywhere.sum(axis=1) - inside.sum(axis=1)).tolist()
    return {name: min(pair) for name, pair in zip(AREAS, _compared(positives, negatives, others, rest), strict=True)}


def _compared(positive: Any, negative: Any, other_positive: Any, other_negative: Any) -> tuple[tuple[Any, Any], ...]:
    """The two sides of each of AREAS, of those of the slice and of the rest."""
    return (
        (positive, negative),
        (other_positive, negative),
        (positive, other_negative),
        (other_negative, negative),
        (other_positive, positive),
    )


def _with_gaps(areas: Sequence[Any]) -> list[Any]:
    """AREAS from the areas under the ROC curve of their sides."""
    return [0.5 - area if name.endswith("aeg") else area for name, area in zip(AREAS, areas, strict=True)]


def _area_arrays(*sides: Floats) -> list[Floats]:
    """AREAS from weights by bin, of the slice and of the rest; leading axes are draws."""
    return _with_gaps([roc_areas(*pair)[0] for pair in _compared(*sides)])


def _areas_of(inside: tuple[Floats, ...], outside: tuple[Floats, ...], exact: bool) -> list[tuple[float, float]]:
    areas = [roc_area(*pair, exact) for pair in _compared(*inside, *outside)]
    return list(zip(_with_gaps([found.area for found in areas]), (found.error for found in areas), strict=True))


def _rebin(sides: Floats) -> Floats:
    """Joins neighbouring bins of ``[4, bins]`` to at most _DRAWN_BINS of about the same weight."""
    mass = np.cumsum(sides.sum(axis=0))
    if not len(mass) or not mass[-1]:
        return np.zeros((len(sides), 1))
    code = np.minimum((mass / mass[-1] * _DRAWN_BINS).astype(np.int64), _DRAWN_BINS - 1)
    return np.stack([np.bincount(code, side, _DRAWN_BINS) for side in sides])


def _scatter(weights: Floats, place: Any, whole: Sides) -> Floats:
    spread = np.zeros(len(whole.keys))
    spread[place] = weights
    return spread


def _pair(lower: Any, upper: Any, row: int, place: int) -> list[float]:
    return [float(lower[row, place]), float(upper[row, place])]

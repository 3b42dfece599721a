"""Poisson bootstrap of counts: intervals of any figure that is computed from added-up weights.

Each row is drawn a Poisson(1) number of times, so a cell of n rows holds Poisson(n) draws: drawing the merged
counts is the same as drawing the rows, needs no replicate on a worker, and does not depend on how the data was
split. A weighted cell is drawn with the mean and the variance that drawing its rows would have.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.measures.batch import Floats
from transforms.measures.confusion import wilson_interval

LEVEL = 0.95


def generator(seed: int, *words: str) -> np.random.Generator:
    """Returns the generator of one figure, which does not depend on what else is drawn."""
    digest = hashlib.sha256(repr((seed, words)).encode("utf-8", "backslashreplace")).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def replicates(chance: np.random.Generator, weights: Floats, squared_weights: Floats, number: int) -> Floats:
    """Returns ``[number, ...]`` draws of cells that hold the sums ``weights`` and ``squared_weights``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where((weights > 0) & (squared_weights > 0), squared_weights / weights, 1.0)
    drawn: Floats = np.multiply(chance.poisson(weights / scale, (number, *weights.shape)), scale, dtype=np.float64)
    return drawn


def intervals(draws: Floats) -> tuple[Floats, Floats]:
    """Returns the ends of the interval of LEVEL of ``draws[number, ...]``; undefined draws do not count."""
    ordered = np.sort(draws, axis=0)  # NaN last
    last = np.maximum((~np.isnan(draws)).sum(axis=0) - 1, 0)
    tail = (1 - LEVEL) / 2
    places: list[npt.NDArray[np.int64]] = [
        np.floor(tail * last).astype(np.int64),
        np.ceil((1 - tail) * last).astype(np.int64),
    ]
    lower, upper = (np.take_along_axis(ordered, place[None], 0)[0] for place in places)
    return lower, upper


class Shares(NamedTuple):
    """Shares ``[...]``, draws of them ``[number, ...]``, and the ends of their intervals."""

    shares: Floats
    draws: Floats
    ends: tuple[Floats, Floats]


def gap_intervals(first: Shares, second: Shares) -> tuple[Floats, Floats]:
    """Returns the intervals of ``first − second``, of independent rows.

    Where either is 0 or 1, which no draw can move, Newcombe's, from the two intervals (R. Newcombe, Interval
    estimation for the difference between independent proportions, 1998).
    """
    lower, upper = intervals(first.draws - second.draws)
    gap = first.shares - second.shares
    below = np.hypot(first.shares - first.ends[0], second.ends[1] - second.shares)
    above = np.hypot(first.ends[1] - first.shares, second.shares - second.ends[0])
    still = np.isin(first.shares, (0, 1)) | np.isin(second.shares, (0, 1))
    lower, upper = np.where(still, gap - below, lower), np.where(still, gap + above, upper)
    missing = np.isnan(gap)
    return np.where(missing, np.nan, np.maximum(lower, -1)), np.where(missing, np.nan, np.minimum(upper, 1))


def share_intervals(shares: Floats, draws: Floats, trials: Floats) -> tuple[Floats, Floats]:
    """Returns the intervals of shares; of 0 and of 1, which no draw of rows can move, Wilson's.

    Args:
      shares: ``[...]``, NaN where undefined.
      draws: ``[number, ...]``.
      trials: effective number of rows of which they are shares, ``[...]``.
    """
    lower, upper = intervals(draws)
    lower, upper = np.where(np.isnan(shares), np.nan, lower), np.where(np.isnan(shares), np.nan, upper)
    for place in zip(*np.nonzero((shares == 0) | (shares == 1)), strict=True):
        lower[place], upper[place] = wilson_interval(float(shares[place]), float(trials[place]))
    return lower, upper

"""Areas under the ROC curve and the precision–recall curve, from weights per score or per bin of scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from transforms.measures.batch import Floats
from transforms.measures.confusion import NAN


class Area(NamedTuple):
    """The area, NaN when a side is empty, and by how much it may be off (0 when it is exact)."""

    area: float
    error: float


def roc_areas(positive: Floats, negative: Floats) -> tuple[Any, Any]:
    """Returns the share of (positive, negative) pairs in the right order, those in one bin half, and half of these.

    Args:
      positive: weights, lowest scores first, ``[..., bins]``.
      negative: the same for the other side.

    Returns:
      The areas ``[...]``, NaN when a side is empty, and by how much they may be off when a bin is a range.
    """
    pairs = positive.sum(axis=-1) * negative.sum(axis=-1)
    lower = np.cumsum(negative, axis=-1) - negative
    ordered, tied = (positive * lower).sum(axis=-1), (positive * negative).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(pairs > 0, 1 / pairs, NAN)
        return (ordered + tied / 2) * share, tied / 2 * share


def roc_area(positive: Floats, negative: Floats, exact: bool) -> Area:
    """Returns the area under the ROC curve from weights by score (exact) or by bin, lowest first."""
    area, error = roc_areas(positive, negative)
    return Area(float(area), 0.0 if exact and not np.isnan(area) else float(error))


def average_precision(positive: Floats, negative: Floats, exact: bool) -> Area:
    """Returns Σ (recall gained at a threshold) × (precision there), over all thresholds from the highest.

    Within a bin the order is unknown: each of its positives stands somewhere between behind all negatives of the
    bin and before them, which bounds the error. NaN without a positive.

    Args:
      positive: weights, lowest scores first, ``[bins]``.
      negative: the same for the other side.
      exact: whether a bin is one score.
    """
    total = float(positive.sum())
    if not total:
        return Area(NAN, NAN)
    positive, negative = positive[::-1], negative[::-1]
    hits, misses = np.cumsum(positive), np.cumsum(negative)
    some = positive > 0
    hits, misses, gained = hits[some], misses[some], positive[some] / total
    area = float(gained @ (hits / (hits + misses)))
    if exact:
        return Area(area, 0.0)
    before = hits - positive[some]
    with np.errstate(invalid="ignore"):
        least = float(gained @ np.nan_to_num(before / (before + misses)))
    most = float(gained @ (hits / (hits + misses - negative[some])))
    return Area(area, max(area - least, most - area))

"""A batch of predictions in the form that metrics add up: arrays, one entry a measured row."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class ClassScores(NamedTuple):
    """Each class against the rest, in rows that name every class.

    Attributes:
      scores: ``float[n, K]`` in [0, 1].
      hits: whether the row has the class, ``bool[n, K]``.
      weights: ``float64[n]``.
    """

    scores: npt.NDArray[Any]
    hits: Bools
    weights: Floats


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionBatch:
    """N rows that have a sound prediction, and one label or, with ``hits``, a set of them.

    With several labels a row, ``actual`` and ``predicted`` are sets of classes, ``confidence`` is that of the
    least sure decision, ``rank`` is -1, and all rows are complete.

    Attributes:
      names: classes that the predictions of this batch name, sorted.
      classes: names and labels of this batch, sorted; the codes below point into it.
      actual: code of the label, ``int64[N]``.
      predicted: code of the class with the highest confidence, ``int64[N]``.
      confidence: the highest confidence, ``float64[N]`` in [0, 1].
      rank: position of the label among the confidences, 0 the best, -1 when it is not named; ``int64[N]``.
      length: how many classes the row names, ``int64[N]``.
      complete: rows that name every class of ``names``, ``bool[N]``.
      scores: confidences of the complete rows, ``float[complete.sum(), len(names)]``.
      weights: ``float64[N]``, not negative.
      hits: which of ``names`` the complete rows have, ``bool[complete.sum(), len(names)]``; None for one label.
      decided: which of them are predicted, the same shape; None for those above one half.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    actual: Ints
    predicted: Ints
    confidence: Floats
    rank: Ints
    length: Ints
    complete: Bools
    scores: npt.NDArray[Any]
    weights: Floats
    hits: Bools | None = None
    decided: Bools | None = None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.actual)

    @property
    def correct(self) -> Bools:
        """Rows whose prediction is the label."""
        correct: Bools = self.actual == self.predicted
        return correct

    def take(self, mask: Bools) -> PredictionBatch:
        """Returns the rows that ``mask``, ``bool[N]``, selects."""
        return dataclasses.replace(
            self,
            actual=self.actual[mask],
            predicted=self.predicted[mask],
            confidence=self.confidence[mask],
            rank=self.rank[mask],
            length=self.length[mask],
            complete=self.complete[mask],
            scores=self.scores[mask[self.complete]],
            weights=self.weights[mask],
            hits=None if self.hits is None else self.hits[mask[self.complete]],
            decided=None if self.decided is None else self.decided[mask[self.complete]],
        )

    def class_scores(self) -> ClassScores:
        """Returns the complete rows as each class against the rest."""
        hits = self.hits
        if hits is None:
            hits = self.actual_column()[:, None] == np.arange(len(self.names))
        return ClassScores(self.scores, hits, self.weights[self.complete])

    def actual_column(self) -> Ints:
        """Returns the column of ``scores`` that belongs to each complete row's label, -1 for none."""
        column = np.full(len(self.classes), -1, np.int64)
        position = {name: index for index, name in enumerate(self.names)}
        for code, name in enumerate(self.classes):
            column[code] = position.get(name, -1)
        return column[self.actual[self.complete]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttributeCodes:
    """One attribute of a batch.

    Attributes:
      values: the values there are, sorted.
      codes: index into ``values`` for each row, -1 where the row has none; ``int64[N]``.
    """

    values: tuple[str, ...]
    codes: Ints


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodedRows:
    """What became of the rows of one Arrow batch.

    Attributes:
      counts: ``rows``, and how many of them are ``measured``, ``unlabelled`` …
      measured: which rows are, ``bool[rows]``.
      batch: the measured rows.
      table: the same rows as Arrow, for their addresses.
      attributes: by name, for the measured rows; properties of the image among them.
      distance: of each measured row to the centre of its cluster, NaN when unknown.
      model_versions: those that the rows name.
    """

    counts: dict[str, int]
    measured: Bools
    batch: PredictionBatch
    table: pa.RecordBatch
    attributes: dict[str, AttributeCodes]
    distance: Floats
    model_versions: frozenset[str]

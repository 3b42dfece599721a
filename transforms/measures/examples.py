"""Rows that stand for others: the first few by rank, for any number of keys."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.measures.batch import Floats, Ints, PredictionBatch


class Example(NamedTuple):
    """A row; its fields stand in the order in which examples are ranked, which settles ties."""

    rank: float
    image_uri: str
    image_id: str
    label: str
    prediction: str
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Returns all but the rank."""
        fields = self._asdict()
        return {name: fields[name] for name in ("image_id", "image_uri", "label", "prediction", "confidence")}


class ExampleRows:
    """The rows of a batch as examples; ``table`` has image_id and image_uri of the same rows."""

    def __init__(self, batch: PredictionBatch, table: pa.RecordBatch) -> None:
        self.batch = batch
        self.table = table

    @functools.cached_property
    def order(self) -> Ints:
        """Place of each row by address and id, the same for rows that have both in common."""
        keys = [("image_uri", "ascending", "at_start"), ("image_id", "ascending", "at_start")]
        index = pc.sort_indices(self.table, sort_keys=keys).to_numpy()
        ordered = self.table.take(index)
        new = np.zeros(len(index), np.bool_)
        for name, *_ in keys:
            column = pc.fill_null(ordered.column(name), "")
            new[1:] |= pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
        place = np.empty(len(index), np.int64)
        place[index] = np.cumsum(new)
        return place

    def names(self, rows: Ints) -> tuple[Ints, Ints]:
        """Prediction and label of rows as numbers in their order, which settle what else is equal."""
        return self.batch.predicted[rows], self.batch.actual[rows]

    def make(self, rows: Ints, rank: Floats) -> list[Example]:
        """Returns ``rows`` as examples."""
        chosen = pa.array(rows)
        uris, ids = (self.table.column(name).take(chosen).to_pylist() for name in ("image_uri", "image_id"))
        batch = self.batch
        return [
            Example(
                value,
                uri or "",
                image_id or "",
                batch.classes[batch.actual[row]],
                batch.classes[batch.predicted[row]],
                float(batch.confidence[row]),
            )
            for row, value, uri, image_id in zip(rows.tolist(), rank.tolist(), uris, ids, strict=True)
        ]


class Examples:
    """The ``limit`` lowest ranked examples of each key."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept: dict[Hashable, list[Example]] = {}

    def add(self, keys: Sequence[Hashable], code: Ints, rows: Ints, rank: Floats, source: ExampleRows) -> None:
        """Offers rows.

        Args:
          keys: that ``code`` points into.
          code: of the key, ``int64[n]``.
          rows: of the batch, ``int64[n]``.
          rank: the lower the better, ``float64[n]``.
          source: of the rows.
        """
        if not self.limit or not len(rows):
            return
        last = np.array([self._last(key) for key in keys])
        near = rank <= last[code]
        if not near.any():
            return
        code, rows, rank = code[near], rows[near], rank[near]
        order = np.lexsort((*source.names(rows), source.order[rows], rank, code))
        code, rows, rank = code[order], rows[order], rank[order]
        _, first, size = np.unique(code, return_index=True, return_counts=True)
        front = np.arange(len(code)) - np.repeat(first, size) < self.limit
        fresh = source.make(rows[front], rank[front])
        for key, example in zip(code[front].tolist(), fresh, strict=True):
            self._keep(keys[key], [example])

    def merge(self, other: Examples) -> None:
        """Adds what ``other`` has kept."""
        for key, examples in other.kept.items():
            self._keep(key, examples)

    def of(self, key: Hashable) -> list[dict[str, Any]]:
        """Returns the examples of a key, best first."""
        return [example.to_json() for example in self.kept.get(key, ())]

    def _last(self, key: Hashable) -> float:
        kept = self.kept.get(key, [])
        return kept[-1].rank if kept and len(kept) == self.limit else np.inf

    def _keep(self, key: Hashable, fresh: Sequence[Example]) -> None:
        self.kept[key] = heapq.nsmallest(self.limit, [*self.kept.get(key, ()), *fresh])

"""The search for the worst slices: every attribute value and every pair of them, corrected for their number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transforms.measures.batch import AttributeCodes, Floats, PredictionBatch
from transforms.measures.confusion import ratio, wilson_interval
from transforms.measures.examples import ExampleRows, Examples

VALUES = 20
"""An attribute with more values is not searched."""

FOUND = 10
"""The worst slices that are told."""

IMAGES = 6

Key = tuple[tuple[str, str], ...]
"""Attributes with their values."""


class SliceSearch:
    """Rows and errors by value of each attribute and by pair of values; adds and merges."""

    def __init__(self) -> None:
        self.values: dict[str, set[str]] = {}
        self.sums: dict[Key, Floats] = {}  # by key, () for all: rows, weight, weight of the right ones, squared weight
        self.images = Examples(IMAGES)

    def add(
        self, batch: PredictionBatch, attributes: Mapping[str, AttributeCodes], source: ExampleRows, distance: Floats
    ) -> None:
        """Adds rows; images are ranked by ``distance`` to the centre of their cluster, if known (not NaN)."""
        for name, codes in attributes.items():
            self._see(name, codes.values)
        live = [name for name in sorted(attributes) if len(self.values[name]) <= VALUES]
        rank = np.where(np.isnan(distance), -batch.confidence, distance)
        for names in [(), *((name,) for name in live), *itertools.combinations(live, 2)]:
            self._count(names, batch, attributes, source, rank)

    def merge(self, other: SliceSearch) -> None:
        """Adds what ``other`` has seen."""
        for name, values in other.values.items():
            self._see(name, tuple(values))
        for key, sums in other.sums.items():
            if all(len(self.values[name]) <= VALUES for name, _ in key):
                self.sums[key] = self.sums.get(key, 0) + sums
        self.images.merge(other.images)

    def compute(self, minimum: int) -> dict[str, Any]:
        """Returns how many slices of at least ``minimum`` rows were tried, and the worst with their evidence.

        The p-value is of a one-sided test that slice and rest are equally often right (normal approximation with
        continuity correction); adjusted by Holm's method for all slices that were tried.
        """
        tried = []
        for key, (rows, *sums) in self.sums.items():
            if rows >= minimum:
                rest = self.sums[()][1:] - sums
                if key and rest[0] > 1e-9 * self.sums[()][1] and (len(key) == 1 or self._is_proper(key)):
                    tried.append(_evidence(key, int(rows), np.array(sums), rest))
        tried.sort(key=lambda entry: (entry["p_value"], entry["slice"]))
        for entry, adjusted in zip(tried, holm([entry["p_value"] for entry in tried]), strict=True):
            entry["adjusted_p_value"] = adjusted
        found = [entry for entry in tried if entry["accuracy"] < entry["rest_accuracy"]][:FOUND]
        for entry in found:
            key = tuple(map(tuple, entry.pop("slice")))
            entry |= {"attributes": dict(key), "images": self.images.of(key)}
        return {"tried": len(tried), "correction": "Holm", "minimum_rows": minimum, "found": found}

    def _see(self, name: str, values: tuple[str, ...]) -> None:
        mine = self.values.setdefault(name, set())
        if len(mine) > VALUES:
            return
        mine.update(values)
        if len(mine) > VALUES:
            mine.intersection_update(sorted(mine)[: VALUES + 1])
            gone = [key for key in self.sums if any(attribute == name for attribute, _ in key)]
            for key in gone:
                del self.sums[key]
                self.images.kept.pop(key, None)

    def _count(
        self,
        names: tuple[str, ...],
        batch: PredictionBatch,
        attributes: Mapping[str, AttributeCodes],
        source: ExampleRows,
        rank: Floats,
    ) -> None:
        code, given = np.zeros(batch.rows, np.int64), np.ones(batch.rows, np.bool_)
        for name in names:
            given &= attributes[name].codes >= 0
            code = code * len(attributes[name].values) + attributes[name].codes
        rows = np.flatnonzero(given)
        cells, place = np.unique(code[rows], return_inverse=True)
        weights, right = batch.weights[rows], batch.correct[rows]
        columns = (None, weights, weights * right, np.square(weights))
        sums = np.stack([np.bincount(place, column, len(cells)) for column in columns], axis=1)
        keys = [self._key(names, int(cell), attributes) for cell in cells]
        for key, row in zip(keys, sums, strict=True):
            self.sums[key] = self.sums.get(key, 0) + row
        wrong = ~right
        self.images.add(keys, place[wrong], rows[wrong], rank[rows[wrong]], source)

    def _key(self, names: tuple[str, ...], cell: int, attributes: Mapping[str, AttributeCodes]) -> Key:
        pairs: list[tuple[str, str]] = []
        for name in reversed(names):
            cell, code = divmod(cell, len(attributes[name].values))
            pairs.append((name, attributes[name].values[code]))
        return tuple(reversed(pairs))

    def _is_proper(self, key: Key) -> bool:
        """Whether a pair is smaller than either of its values alone."""
        return all(self.sums[(part,)][0] > self.sums[key][0] for part in key)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values adjusted for their number by Holm's method, in the same order."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(p_values[index] * (len(p_values) - place), 1.0))
        adjusted[index] = running
    return adjusted


def _evidence(key: Key, rows: int, inside: Floats, outside: Floats) -> dict[str, Any]:
    weight, right, squared = inside.tolist()
    others, others_right, others_squared = np.maximum(outside, 0).tolist()
    accuracy, rest = ratio(right, weight), ratio(others_right, others)
    size, other_size = ratio(weight * weight, squared), ratio(others * others, others_squared)
    pooled = (right + others_right) / (weight + others)
    spread = math.sqrt(max(pooled * (1 - pooled), 0.0) * (1 / size + 1 / other_size))
    correction = (1 / size + 1 / other_size) / 2
    score = max(rest - accuracy - correction, 0.0) / spread if spread else 0.0
    return {
        "slice": key,
        "rows": rows,
        "accuracy": accuracy,
        "accuracy_interval": list(wilson_interval(accuracy, size)),
        "rest_accuracy": rest,
        "p_value": math.erfc(score / math.sqrt(2)) / 2,
    }

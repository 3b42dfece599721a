"""Two sets of predictions of the same images: who is right more often, what flipped, and where."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.measures.batch import Bools, Floats, PredictionBatch
from transforms.measures.bootstrap import generator, intervals, replicates
from transforms.measures.confusion import ratio
from transforms.measures.examples import ExampleRows, Examples
from transforms.measures.rows import decode_rows
from transforms.measures.slices import AttributeSlices, MeasureOptions, chosen_attributes
from transforms.measures.thresholds import edges_of

FLIP_THRESHOLD = 0.5
"""A class is positive when its confidence is strictly above this."""

COUNTS = ("rows", "only_first", "only_second", "duplicates")

_RIGHT_ALONE = 24
_FIRST, _SECOND = "first", "second"
_EXACT_ROWS = 10_000


class _Pair(NamedTuple):
    """The same rows by two models, and which of the first's classes turned positive or negative."""

    first: PredictionBatch
    second: PredictionBatch
    changed: Bools
    up: Bools
    down: Bools

    def take(self, rows: Bools) -> _Pair:
        return _Pair(self.first.take(rows), self.second.take(rows), self.changed[rows], self.up[rows], self.down[rows])


class PairMeasures:
    """What two models do on one group of rows; adds and merges."""

    def __init__(self) -> None:
        self.cells = np.zeros((3, 4))  # rows, weight, squared weight of both right, first alone, second alone, none
        self.changed = 0.0
        self.flips: dict[str, Floats] = {}  # weight that turned positive, and negative, by class

    def add(self, pair: _Pair) -> None:
        """Adds rows."""
        first, second, changed, up, down = pair
        code = (~first.correct).astype(np.int64) * 2 + ~second.correct
        weights = first.weights
        for row, values in enumerate((None, weights, np.square(weights))):
            self.cells[row] += np.bincount(code, values, 4)
        self.changed += float(weights[changed].sum())
        for index, name in enumerate(first.names):
            turned = np.array([weights[up[:, index]].sum(), weights[down[:, index]].sum()])
            self.flips[name] = self.flips.get(name, 0) + turned

    def merge(self, other: PairMeasures) -> None:
        """Adds what ``other`` has seen."""
        self.cells += other.cells
        self.changed += other.changed
        for name, turned in other.flips.items():
            self.flips[name] = self.flips.get(name, 0) + turned

    def compute(self, options: MeasureOptions, *words: str) -> dict[str, Any]:
        """Returns accuracies, their difference with its interval, McNemar's test, and the flips of each class."""
        rows, weights, squared = self.cells
        total = float(weights.sum())
        draws = replicates(generator(options.seed, "pair", *words), weights, squared, options.draws)
        sizes = draws.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            differences = (draws[:, 2] - draws[:, 1]) / sizes
        lower, upper = intervals(differences)
        both, first, second, none = (int(value) for value in rows)
        overall = {
            "rows": int(rows.sum()),
            "first_accuracy": ratio(float(weights[0] + weights[1]), total),
            "second_accuracy": ratio(float(weights[0] + weights[2]), total),
            "difference": ratio(float(weights[2] - weights[1]), total),
            "difference_interval": [float(lower), float(upper)],
            "both_right": both,
            "only_first_right": first,
            "only_second_right": second,
            "both_wrong": none,
            "changed": ratio(self.changed, total),
            "p_value": mcnemar(first, second),
        }
        classes = [
            {
                "name": name,
                "negative_to_positive": ratio(float(turned[0]), total),
                "positive_to_negative": ratio(float(turned[1]), total),
                "symmetric": ratio(float(turned.sum()), total),
            }
            for name, turned in sorted(self.flips.items())
        ]
        return {"overall": overall, "classes": classes}


class Comparison:
    """Pairs of predictions, overall and by slice, and the images that one alone gets right."""

    def __init__(self, options: MeasureOptions) -> None:
        self.options = options
        self.counts = dict.fromkeys(COUNTS, 0)
        self.overall = PairMeasures()
        self.attributes: dict[str, AttributeSlices] = {}
        self.examples = Examples(_RIGHT_ALONE)

    def count(self, **numbers: int) -> None:
        """Adds to the counts of rows without a partner."""
        for name, number in numbers.items():
            self.counts[name] += number

    def add(self, first: pa.RecordBatch, second: pa.RecordBatch) -> None:
        """Adds rows of the same images in the same order; those that either cannot measure are left out."""
        if not first.num_rows:
            return
        for name in ("labels", "weight"):  # the truth is the first's
            second = second.set_column(second.schema.get_field_index(name), name, first.column(name))
        one, two = (decode_rows(table, self.options.multi_label) for table in (first, second))
        if (one.measured != two.measured).any():
            both = pa.array(one.measured & two.measured)
            one, two = (decode_rows(table.filter(both), self.options.multi_label) for table in (first, second))
        if not one.batch.rows:
            return
        self.counts["rows"] += one.batch.rows
        changed = _answers(one.batch) != _answers(two.batch)
        up, down = _flips(one.batch, two.batch)
        pair = _Pair(one.batch, two.batch, changed, up, down)
        self.overall.add(pair)
        for name, codes in chosen_attributes(one.attributes, self.options.slices).items():
            self._slices(name).add(pair, codes)
        for key, decoded, other in ((_FIRST, one, two), (_SECOND, two, one)):
            alone = np.flatnonzero(decoded.batch.correct & ~other.batch.correct)
            source = ExampleRows(decoded.batch, decoded.table)
            self.examples.add([key], alone * 0, alone, -decoded.batch.confidence[alone], source)

    def _slices(self, name: str) -> AttributeSlices:
        return self.attributes.setdefault(name, AttributeSlices(self.options, PairMeasures))

    def merge(self, other: Comparison) -> None:
        """Adds what ``other`` has seen."""
        self.count(**other.counts)
        self.overall.merge(other.overall)
        self.examples.merge(other.examples)
        for name, parts in other.attributes.items():
            self._slices(name).merge(parts)

    def compute(self, first: str, second: str) -> dict[str, Any]:
        """Returns the object ``comparison`` of metrics.schema.json, with NaN for null; the two are addresses."""
        slices = {}
        for name, parts in sorted(self.attributes.items()):
            entries = []
            for value, measures in sorted((parts.slices or {}).items()):
                entry = {"value": value, **measures.compute(self.options, name, value)}
                entries.append(entry | {"small": entry["overall"]["rows"] < self.options.minimum_slice})
            if entries:
                slices[name] = entries
        return {
            "first": first,
            "second": second,
            **self.counts,
            "threshold": FLIP_THRESHOLD,
            **self.overall.compute(self.options),
            "slices": slices,
            "right_alone": {key: self.examples.of(key) for key in (_FIRST, _SECOND)},
        }


def mcnemar(first: int, second: int) -> float:
    """Returns the two-sided p-value that rows right by one model alone are as likely the first's as the second's.

    Exact (binomial) up to 10,000 such rows, beyond by the normal approximation with continuity correction; 1
    without any. Q. McNemar, Note on the sampling error of the difference between correlated proportions, 1947.
    """
    number, fewer = first + second, min(first, second)
    if not number:
        return 1.0
    if number > _EXACT_ROWS:
        return math.erfc(max(abs(first - second) - 1, 0) / math.sqrt(2 * number))
    logs = [math.lgamma(number + 1) - math.lgamma(k + 1) - math.lgamma(number - k + 1) for k in range(fewer + 1)]
    return min(2 * math.fsum(math.exp(value - number * math.log(2)) for value in logs), 1.0)


def _answers(batch: PredictionBatch) -> npt.NDArray[np.str_]:
    return np.array(batch.classes)[batch.predicted]


def _flips(first: PredictionBatch, second: PredictionBatch) -> tuple[Bools, Bools]:
    """Which of the first's classes turned positive and negative in each row; none where either lacks scores."""
    up, down = np.zeros((2, first.rows, len(first.names)), np.bool_)
    whole = first.complete & second.complete
    place = {name: index for index, name in enumerate(second.names)}
    for index, name in enumerate(first.names):
        if name in place:
            before = _positive(first, index)[whole]
            after = _positive(second, place[name])[whole]
            up[whole, index] = ~before & after
            down[whole, index] = before & ~after
    return up, down


def _positive(batch: PredictionBatch, index: int) -> Bools:
    positive = np.zeros(batch.rows, np.bool_)
    positive[batch.complete] = batch.scores[:, index] > edges_of(FLIP_THRESHOLD, batch.scores)
    return positive

"""All that is measured of a collection of predictions: one accumulator that adds, merges and computes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.measures.batch import PredictionBatch
from transforms.measures.bootstrap import LEVEL
from transforms.measures.examples import ExampleRows, Examples
from transforms.measures.fairness import Fairness
from transforms.measures.remarks import warnings_of
from transforms.measures.rows import ROW_COUNTS, TRAINING, decode_rows
from transforms.measures.search import SliceSearch
from transforms.measures.slices import (
    DEFAULT_VALUES,
    MOST_COMPARED,
    NAMED_VALUES,
    AttributeMeasures,
    MeasureOptions,
    chosen_attributes,
    measures_of,
)
from transforms.measures.thresholds import CURVE

SCHEMA_VERSION = 1
"""Of metrics.json; raised when a field changes its meaning."""

MATRIX_CLASSES = 200
"""With more classes the confusion matrix is left out; the most frequent mistakes stay."""

CELL_CLASSES = 40
"""With more classes the cells of the matrix have no examples."""

CELL_IMAGES = 6
"""Examples of a cell."""

WORST, LEAST_CONFIDENT = "worst errors", "least confident"

LARGEST_CONFUSIONS = 100

VERSIONS = 10
"""Model versions that are listed."""


class Evaluation:
    """Counts, metrics overall and per slice, the search for slices, and examples; empty when it is made."""

    def __init__(self, options: MeasureOptions) -> None:
        self.options = options
        self.counts = dict.fromkeys((*ROW_COUNTS, TRAINING), 0)
        thresholds = tuple(sorted({*CURVE, *options.thresholds}))
        self.overall = measures_of(options, options.exact_cells, options.bits, thresholds)
        self.attributes: dict[str, AttributeMeasures] = {}
        self.search = SliceSearch()
        self.examples = Examples(options.worst)
        self.cells = Examples(CELL_IMAGES)
        self.model_versions: frozenset[str] = frozenset()

    def add(self, table: pa.RecordBatch) -> None:
        """Adds rows of predictions.

        Raises:
          InputError: a column has a type that cannot be read.
        """
        if not table.num_rows:
            return
        decoded = decode_rows(table, self.options.multi_label)
        for name, number in decoded.counts.items():
            self.counts[name] += number
        self._see_versions(decoded.model_versions)
        batch = decoded.batch
        if batch.rows:
            self.overall.add(batch)
            for name, codes in chosen_attributes(decoded.attributes, self.options.slices).items():
                self.attributes.setdefault(name, AttributeMeasures(self.options)).add(batch, codes)
            source = ExampleRows(batch, decoded.table)
            self.search.add(batch, decoded.attributes, source, decoded.distance)
            self._exemplify(batch, source)

    def _exemplify(self, batch: PredictionBatch, source: ExampleRows) -> None:
        rows, wrong = np.arange(batch.rows), np.flatnonzero(~batch.correct)
        self.examples.add([WORST], wrong * 0, wrong, -batch.confidence[wrong], source)
        self.examples.add([LEAST_CONFIDENT], rows * 0, rows, batch.confidence, source)
        if len(batch.classes) <= CELL_CLASSES:
            width = len(batch.classes)
            cells, code = np.unique(batch.actual * width + batch.predicted, return_inverse=True)
            keys = [(batch.classes[cell // width], batch.classes[cell % width]) for cell in cells.tolist()]
            self.cells.add(keys, code, rows, -batch.confidence, source)

    def merge(self, other: Evaluation) -> None:
        """Adds what ``other``, of the same options, has seen."""
        for name, number in other.counts.items():
            self.counts[name] += number
        self._see_versions(other.model_versions)
        self.overall.merge(other.overall)  # type: ignore[arg-type]  # of the same options, so of the same kind
        self.search.merge(other.search)
        self.examples.merge(other.examples)
        self.cells.merge(other.cells)
        for name, measures in other.attributes.items():
            self.attributes.setdefault(name, AttributeMeasures(self.options)).merge(measures)

    def compact(self) -> None:
        """Joins what was kept in pieces, before it is sent to another worker."""
        self.overall.compact()
        for attribute in self.attributes.values():
            attribute.compact()

    def _see_versions(self, versions: frozenset[str]) -> None:
        self.model_versions = frozenset(sorted(self.model_versions | versions)[: VERSIONS + 1])

    def compute(self) -> dict[str, Any]:
        """Returns the metrics as JSON types, as metrics.schema.json describes them; undefined is None."""
        names, options = self.overall.names, self.options
        overall = self.overall.compute(names)
        classes = overall.pop("classes")
        unknown = sum(entry["support"] for entry in classes if not entry["known"])
        fairness = self._fairness(names)
        slices = {name: entry.compute(name, names, fairness) for name, entry in sorted(self.attributes.items())}
        metrics = {
            "schema_version": SCHEMA_VERSION,
            "multi_label": options.multi_label,
            "counts": {
                **self.counts,
                "unknown_labels": unknown,
                "incomplete_scores": self.counts["measured"] - overall["probability_rows"],
            },
            "model_versions": sorted(self.model_versions)[:VERSIONS],
            "overall": overall,
            "classes": classes,
            "confusion_matrix": self._confusion([entry["name"] for entry in classes]),
            "calibration": self.overall.calibration_bins(),
            "curves": self._curves(names),
            "fairness": {
                "classes": fairness.whole() if fairness else [],
                "thresholds": list(options.thresholds),
                "left_out": self._not_compared(names),
            },
            "bootstrap": {"draws": options.draws, "seed": options.seed, "level": LEVEL},
            "slices": {name: entry for name, entry in slices.items() if entry and self._tells(name, entry)},
            "slices_left_out": {
                name: f"more than {NAMED_VALUES if options.slices else DEFAULT_VALUES:,} values"
                for name, entry in slices.items()
                if entry is None
            },
            "minimum_slice": options.minimum_slice,
            "worst_slices": self.search.compute(options.minimum_slice),
            "worst_errors": self.examples.of(WORST),
            "least_confident": self.examples.of(LEAST_CONFIDENT),
            "comparison": None,
        }
        plain = null_for_nan(metrics)
        return {**plain, "warnings": warnings_of(plain)}

    def _tells(self, name: str, entries: list[dict[str, Any]]) -> bool:
        """Whether slices that nobody asked for are more than all rows again, as when every image is a JPEG."""
        return name in self.options.slices or len(entries) > 1 or not name.startswith("image.")

    def _compared(self, names: tuple[str, ...]) -> dict[str, int]:
        """The classes that are compared between slices, with their places."""
        wanted = self.options.positive_labels or (names if len(names) <= MOST_COMPARED else ())
        return {name: names.index(name) for name in wanted if name in names}

    def _not_compared(self, names: tuple[str, ...]) -> str | None:
        missing = [name for name in self.options.positive_labels if name not in names]
        if missing:
            return f"no prediction names {', '.join(map(repr, missing))}"
        if self._compared(names) or not names:
            return None
        return f"more than {MOST_COMPARED} classes; name some with --positive-label"

    def _fairness(self, names: tuple[str, ...]) -> Fairness | None:
        each, options = self.overall.against_rest(names), self.options
        if each is None or not self._compared(names):
            return None
        return Fairness(each, self._compared(names), options.thresholds, options.draws, options.seed)

    def _confusion(self, labels: list[str]) -> dict[str, Any]:
        matrix = self.overall.matrix(labels) if len(labels) <= MATRIX_CLASSES else {"rows": None, "weights": None}
        kept: list[Any] = list(self.cells.kept) if len(labels) <= CELL_CLASSES else []
        return {
            "labels": labels,
            **matrix,
            "largest": self.overall.largest(LARGEST_CONFUSIONS),
            "examples": [
                {"label": cell[0], "prediction": cell[1], "images": self.cells.of(cell)} for cell in sorted(kept)
            ],
        }

    def _curves(self, names: tuple[str, ...]) -> dict[str, Any]:
        each = self.overall.against_rest(names)
        if each is None or len(names) > MATRIX_CLASSES:
            return {"thresholds": list(CURVE), "classes": []}
        hit, _, alarm, _ = each.counts.cells(each.counts.weights)[..., each.counts.at(CURVE)]
        sides = each.counts.weights.sum(axis=2)
        return {
            "thresholds": list(CURVE),
            "classes": [
                {
                    "name": name,
                    "positives": float(sides[0, index]),
                    "negatives": float(sides[1, index]),
                    "true_positives": hit[index].tolist(),
                    "false_positives": alarm[index].tolist(),
                }
                for index, name in enumerate(names)
            ],
        }


def null_for_nan(value: Any) -> Any:
    """Returns ``value`` with None for each NaN in it, as JSON has no NaN."""
    if isinstance(value, dict):
        return {name: null_for_nan(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [null_for_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value

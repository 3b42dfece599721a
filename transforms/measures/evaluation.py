"""All that is measured of a collection of predictions: one accumulator that adds, merges and computes."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

from transforms.measures.remarks import warnings_of
from transforms.measures.rows import ROW_COUNTS, decode_rows
from transforms.measures.slices import (
    DEFAULT_VALUES,
    NAMED_VALUES,
    AttributeMeasures,
    GroupMeasures,
    MeasureOptions,
    add_attributes,
)
from transforms.measures.worst import WorstErrors

SCHEMA_VERSION = 1
"""Of metrics.json; raised when a field changes its meaning."""

MATRIX_CLASSES = 200
"""With more classes the confusion matrix is left out; the most frequent mistakes stay."""

LARGEST_CONFUSIONS = 100

VERSIONS = 10
"""Model versions that are listed."""


class Evaluation:
    """Counts, metrics overall and per slice, and the worst errors; empty when it is made."""

    def __init__(self, options: MeasureOptions) -> None:
        self.options = options
        self.counts = dict.fromkeys(ROW_COUNTS, 0)
        self.overall = GroupMeasures(options.exact_cells, options.bits)
        self.attributes: dict[str, AttributeMeasures] = {}
        self.worst = WorstErrors(options.worst)
        self.model_versions: frozenset[str] = frozenset()

    def add(self, table: pa.RecordBatch) -> None:
        """Adds rows of predictions.

        Raises:
          InputError: a column has a type that cannot be read.
        """
        if not table.num_rows:
            return
        decoded = decode_rows(table)
        for name, number in decoded.counts.items():
            self.counts[name] += number
        self._see_versions(decoded.model_versions)
        if decoded.batch.rows:
            self.overall.add(decoded.batch)
            self.worst.add(decoded.batch, decoded.table)
            add_attributes(self.attributes, decoded.batch, decoded.attributes, self.options)

    def merge(self, other: Evaluation) -> None:
        """Adds what ``other``, of the same options, has seen."""
        for name, number in other.counts.items():
            self.counts[name] += number
        self._see_versions(other.model_versions)
        self.overall.merge(other.overall)
        self.worst.merge(other.worst)
        for name, measures in other.attributes.items():
            self.attributes.setdefault(name, AttributeMeasures(self.options)).merge(measures)

    def compact(self) -> None:
        """Joins what was kept in pieces, before it is sent to another worker."""
        self.overall.probabilities.compact()
        for attribute in self.attributes.values():
            for measures in (attribute.slices or {}).values():
                measures.probabilities.compact()

    def _see_versions(self, versions: frozenset[str]) -> None:
        self.model_versions = frozenset(sorted(self.model_versions | versions)[: VERSIONS + 1])

    def compute(self) -> dict[str, Any]:
        """Returns the metrics as JSON types, as metrics.schema.json describes them; undefined is None."""
        names = self.overall.probabilities.names
        overall = self.overall.compute(names)
        classes = overall.pop("classes")
        labels = [entry["name"] for entry in classes]
        small_enough = len(labels) <= MATRIX_CLASSES
        unknown = sum(entry["support"] for entry in classes if not entry["known"])
        slices = {name: entry.compute(names) for name, entry in sorted(self.attributes.items())}
        metrics = {
            "schema_version": SCHEMA_VERSION,
            "counts": {
                **self.counts,
                "unknown_labels": unknown,
                "incomplete_scores": overall["rows"] - overall["probability_rows"],
            },
            "model_versions": sorted(self.model_versions)[:VERSIONS],
            "overall": overall,
            "classes": classes,
            "confusion_matrix": {
                "labels": labels,
                "rows": self.overall.confusion.matrix(labels) if small_enough else None,
                "largest": self.overall.confusion.largest(LARGEST_CONFUSIONS),
            },
            "calibration": self.overall.calibration.bins(),
            "slices": {name: entry for name, entry in slices.items() if entry is not None},
            "slices_left_out": {
                name: f"more than {NAMED_VALUES if self.options.slices else DEFAULT_VALUES:,} values"
                for name, entry in slices.items()
                if entry is None
            },
            "minimum_slice": self.options.minimum_slice,
            "worst_errors": self.worst.compute(),
        }
        plain = null_for_nan(metrics)
        return {**plain, "warnings": warnings_of(plain)}


def null_for_nan(value: Any) -> Any:
    """Returns ``value`` with None for each NaN in it, as JSON has no NaN."""
    if isinstance(value, dict):
        return {name: null_for_nan(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [null_for_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value

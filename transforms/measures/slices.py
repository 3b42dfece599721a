"""The metrics of one group of rows, and of the groups that each attribute makes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from transforms.measures.batch import AttributeCodes, PredictionBatch
from transforms.measures.calibration import Calibration
from transforms.measures.confusion import NAN, Confusion, ratio
from transforms.measures.probabilities import NO_AUC, Probabilities
from transforms.measures.ranking import TopK

DEFAULT_VALUES = 20
"""An attribute that was not asked for makes slices when it has at most this many values."""

NAMED_VALUES = 1_000
"""An attribute that was asked for may have this many."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """What is measured.

    Attributes:
      slices: attributes to slice by; empty for all that have at most DEFAULT_VALUES values.
      minimum_slice: slices with fewer rows are marked as small.
      worst: how many of the worst errors are kept.
      exact_cells: up to how many scores (rows × classes) the overall AUC is exact: 2 million are 1,000,000
        rows of two classes, 200,000 of ten.
      slice_exact_cells: the same for one slice.
      bits: fineness of the AUC's bins beyond that; 6,145 bins a class.
      slice_bits: the same for one slice; 769 bins a class.
    """

    slices: tuple[str, ...] = ()
    minimum_slice: int = 30
    worst: int = 24
    exact_cells: int = 2_000_000
    slice_exact_cells: int = 250_000
    bits: int = 7
    slice_bits: int = 4


class GroupMeasures:
    """Every metric of one group of rows; its parts are added and merged alike."""

    def __init__(self, exact_cells: int, bits: int) -> None:
        self.confusion = Confusion()
        self.top = TopK()
        self.calibration = Calibration()
        self.probabilities = Probabilities(exact_cells, bits)

    def add(self, batch: PredictionBatch) -> None:
        """Adds the rows of ``batch``."""
        self.confusion.add(batch)
        self.top.add(batch)
        self.calibration.add(batch)
        self.probabilities.add(batch)

    def merge(self, other: GroupMeasures) -> None:
        """Adds what ``other`` has seen."""
        self.confusion.merge(other.confusion)
        self.top.merge(other.top)
        self.calibration.merge(other.calibration)
        self.probabilities.merge(other.probabilities)

    def compute(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Returns all figures; ``names`` are the classes that the predictions name anywhere."""
        classes = self.class_figures(names)
        exact = self.probabilities.auc is None or self.probabilities.auc.exact
        return {
            **self.confusion.compute(),
            "macro": {
                figure: mean_of_defined([entry[figure] for entry in classes])
                for figure in ("precision", "recall", "f1", "roc_auc")
            },
            "top_k_accuracy": self.top.compute(len(names)),
            **self.probabilities.compute(names),
            "expected_calibration_error": self.calibration.compute(),
            "roc_auc_method": "exact" if exact else "histogram",
            "classes": classes,
        }

    def class_figures(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Returns the figures of each class, by name; ``known`` tells whether a prediction names it."""
        areas = self.probabilities.areas(names)
        figures = self.confusion.per_class(sorted({*names, *self.confusion.labels()}))
        for entry in figures:
            area = areas.get(entry["name"], NO_AUC)
            entry |= {"roc_auc": area.area, "roc_auc_error": area.error, "known": entry["name"] in areas}
        return figures


class AttributeMeasures:
    """The slices of one attribute, until it turns out to have too many values."""

    def __init__(self, options: MeasureOptions) -> None:
        self.options = options
        self.most = NAMED_VALUES if options.slices else DEFAULT_VALUES
        self.slices: dict[str, GroupMeasures] | None = {}

    def add(self, batch: PredictionBatch, attribute: AttributeCodes) -> None:
        """Adds the rows of ``batch``; those without a value belong to no slice."""
        if self.slices is None or len({*self.slices, *attribute.values}) > self.most:
            self.slices = None
            return
        for code, value in enumerate(attribute.values):
            self._slice(self.slices, value).add(batch.take(np.equal(attribute.codes, code)))

    def merge(self, other: AttributeMeasures) -> None:
        """Adds what ``other`` has seen."""
        if self.slices is None or other.slices is None or len({*self.slices, *other.slices}) > self.most:
            self.slices = None
            return
        for value, measures in other.slices.items():
            self._slice(self.slices, value).merge(measures)

    def _slice(self, slices: dict[str, GroupMeasures], value: str) -> GroupMeasures:
        if value not in slices:
            slices[value] = GroupMeasures(self.options.slice_exact_cells, self.options.slice_bits)
        return slices[value]

    def compute(self, names: tuple[str, ...]) -> list[dict[str, Any]] | None:
        """Returns the slices by value, ``small`` when they have few rows; None for too many values."""
        if self.slices is None:
            return None
        figures = []
        for value, measures in sorted(self.slices.items()):
            entry = {"value": value, **measures.compute(names)}
            figures.append(entry | {"small": entry["rows"] < self.options.minimum_slice})
        return figures


def add_attributes(
    measures: dict[str, AttributeMeasures],
    batch: PredictionBatch,
    attributes: Mapping[str, AttributeCodes],
    options: MeasureOptions,
) -> None:
    """Adds the rows of ``batch`` to the slices of each attribute that is asked for."""
    for name, codes in attributes.items():
        if not options.slices or name in options.slices:
            measures.setdefault(name, AttributeMeasures(options)).add(batch, codes)


def mean_of_defined(values: list[float]) -> float:
    """Returns the mean of the values that are not NaN, NaN when none is."""
    defined = [value for value in values if not math.isnan(value)]
    return ratio(math.fsum(defined), len(defined)) if defined else NAN

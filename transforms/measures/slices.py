"""The metrics of one group of rows, and of the groups that each attribute makes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from transforms.measures.batch import AttributeCodes, PredictionBatch
from transforms.measures.calibration import Calibration
from transforms.measures.confusion import Confusion, mean_of_defined
from transforms.measures.fairness import THRESHOLDS, Fairness
from transforms.measures.label_sets import LabelSetMeasures
from transforms.measures.one_against_rest import UNDEFINED, Fineness, OneAgainstRest
from transforms.measures.probabilities import Probabilities
from transforms.measures.ranking import TopK

DEFAULT_VALUES = 20
"""An attribute that was not asked for makes slices when it has at most this many values."""

NAMED_VALUES = 1_000
"""An attribute that was asked for may have this many."""

MOST_COMPARED = 10
"""With more classes only those that are named as positive are compared between slices."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """What is measured.

    Attributes:
      slices: attributes, or pairs written ``a*b``, to slice by; empty for all that have at most DEFAULT_VALUES values.
      minimum_slice: slices with fewer rows are marked as small.
      worst: how many of the worst errors are kept.
      exact_cells: up to how many scores (rows × classes) the overall AUC is exact: 2 million are 1,000,000
        rows of two classes, 200,000 of ten.
      slice_exact_cells: the same for one slice.
      bits: fineness of the AUC's bins beyond that; 6,145 bins a class.
      slice_bits: the same for one slice; 769 bins a class.
      multi_label: rows have sets of labels.
      thresholds: at which rates are given.
      positive_labels: classes that are compared between slices; empty for all, up to MOST_COMPARED.
      draws: of the bootstrap.
      seed: of the bootstrap.
    """

    slices: tuple[str, ...] = ()
    minimum_slice: int = 30
    worst: int = 24
    exact_cells: int = 2_000_000
    slice_exact_cells: int = 100_000
    bits: int = 7
    slice_bits: int = 4
    multi_label: bool = False
    thresholds: tuple[float, ...] = THRESHOLDS
    positive_labels: tuple[str, ...] = ()
    draws: int = 200
    seed: int = 0


class GroupMeasures:
    """Every metric of one group of rows; its parts are added and merged alike."""

    def __init__(self, exact_cells: int, bits: int, thresholds: tuple[float, ...] = ()) -> None:
        self.confusion = Confusion()
        self.top = TopK()
        self.calibration = Calibration()
        self.probabilities = Probabilities(Fineness(exact_cells, bits, thresholds))

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

    def compact(self) -> None:
        """Joins what was kept in pieces."""
        self.probabilities.compact()

    @property
    def names(self) -> tuple[str, ...]:
        """The classes that the predictions name."""
        return self.probabilities.names

    def against_rest(self, names: tuple[str, ...]) -> OneAgainstRest | None:
        """Returns the classes against the rest when ``names`` are the classes."""
        return self.probabilities.against_rest(names)

    def compute(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Returns all figures; ``names`` are the classes that the predictions name anywhere."""
        classes = self.class_figures(names)
        return {
            **self.confusion.compute(),
            "macro": {
                figure: mean_of_defined([entry[figure] for entry in classes])
                for figure in ("precision", "recall", "f1", "roc_auc", "average_precision")
            },
            "top_k_accuracy": self.top.compute(len(names)),
            **self.probabilities.compute(names),
            "expected_calibration_error": self.calibration.compute(),
            "classes": classes,
        }

    def class_figures(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Returns the figures of each class, by name; ``known`` tells whether a prediction names it."""
        scored = self.probabilities.class_figures(names)
        figures = self.confusion.per_class(sorted({*names, *self.confusion.labels()}))
        return [
            {**entry, **scored.get(entry["name"], UNDEFINED), "known": entry["name"] in scored} for entry in figures
        ]

    def matrix(self, names: list[str]) -> dict[str, Any]:
        """Returns the confusion matrix."""
        return self.confusion.matrix(names)

    def largest(self, limit: int) -> list[dict[str, Any]]:
        """Returns the most frequent mistakes."""
        return self.confusion.largest(limit)

    def calibration_bins(self) -> list[dict[str, Any]]:
        """Returns the bins of the highest confidence."""
        return self.calibration.bins()


Measures = GroupMeasures | LabelSetMeasures


class AttributeSlices:
    """The slices of one attribute, until it turns out to have too many values.

    Args:
      options: slices and their sizes.
      make: returns empty measures, which add and merge; a class or partial of this package, as it goes to workers.
    """

    def __init__(self, options: MeasureOptions, make: Callable[[], Any]) -> None:
        self.options = options
        self.make = make
        self.most = NAMED_VALUES if options.slices else DEFAULT_VALUES
        self.slices: dict[str, Any] | None = {}

    def add(self, batch: Any, attribute: AttributeCodes) -> None:
        """Adds the rows of ``batch``, of which one can ``take`` some; those without a value belong to no slice."""
        if self.slices is None or len({*self.slices, *attribute.values}) > self.most:
            self.slices = None
            return
        for code, value in enumerate(attribute.values):
            self._slice(self.slices, value).add(batch.take(np.equal(attribute.codes, code)))

    def merge(self, other: AttributeSlices) -> None:
        """Adds what ``other`` has seen."""
        if self.slices is None or other.slices is None or len({*self.slices, *other.slices}) > self.most:
            self.slices = None
            return
        for value, measures in other.slices.items():
            self._slice(self.slices, value).merge(measures)

    def _slice(self, slices: dict[str, Any], value: str) -> Any:
        if value not in slices:
            slices[value] = self.make()
        return slices[value]


class AttributeMeasures(AttributeSlices):
    """Every metric of the slices of one attribute."""

    def __init__(self, options: MeasureOptions) -> None:
        exact_cells, bits = options.slice_exact_cells, options.slice_bits
        super().__init__(options, functools.partial(measures_of, options, exact_cells, bits, options.thresholds))

    def compact(self) -> None:
        """Joins what was kept in pieces."""
        for measures in (self.slices or {}).values():
            measures.compact()

    def compute(self, name: str, names: tuple[str, ...], fairness: Fairness | None) -> list[dict[str, Any]] | None:
        """Returns the slices by value, ``small`` when they have few rows; None for too many values."""
        if self.slices is None:
            return None
        figures = []
        for value, measures in sorted(self.slices.items()):
            each = measures.against_rest(names)
            compared = fairness.of_slice((name, value), each) if fairness and each else []
            entry = {"value": value, **measures.compute(names), "fairness": compared}
            figures.append(entry | {"small": entry["rows"] < self.options.minimum_slice})
        return figures


def measures_of(options: MeasureOptions, exact_cells: int, bits: int, thresholds: tuple[float, ...]) -> Measures:
    """Returns empty measures of a group of rows."""
    kind = LabelSetMeasures if options.multi_label else GroupMeasures
    return kind(exact_cells, bits, thresholds)


def chosen_attributes(attributes: Mapping[str, AttributeCodes], slices: tuple[str, ...]) -> dict[str, AttributeCodes]:
    """Returns the attributes that ``slices`` names, pairs written ``a*b`` among them; all when it names none."""
    if not slices:
        return dict(attributes)
    chosen = {name: attributes[name] for name in slices if name in attributes}
    for name in slices:
        parts = [attributes[part] for part in name.split("*") if part in attributes]
        if name not in chosen and len(parts) == 2 == len(name.split("*")):
            chosen[name] = _pair(*parts)
    return chosen


def _pair(first: AttributeCodes, second: AttributeCodes) -> AttributeCodes:
    """The values of two attributes together, where a row has both."""
    width = max(len(second.values), 1)
    joint = np.where((first.codes >= 0) & (second.codes >= 0), first.codes * width + second.codes, -1)
    cells = np.unique(joint[joint >= 0])
    texts = [f"{first.values[cell // width]} * {second.values[cell % width]}" for cell in cells.tolist()]
    codes = np.where(joint >= 0, np.searchsorted(cells, joint), -1)
    return AttributeCodes(values=tuple(texts), codes=codes)

"""Compare: two sets of predictions, joined by image, to one comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import pyarrow as pa

from transforms.measures.comparison import Comparison
from transforms.measures.evaluation import null_for_nan
from transforms.measures.joining import Aligned, aligned, partitioned
from transforms.measures.slices import MeasureOptions

_SIDES = ("first", "second")


@dataclasses.dataclass(kw_only=True)
class ComparePredictions(beam.PTransform):
    """Two collections of Arrow record batches of predictions to one dictionary, ``comparison`` of metrics.json.

    Attributes:
      options: slices, limits and sizes.
      first: address of the first, for the reader of the figures.
      second: of the second.
      partitions: into which the rows are spread by image; each is joined in memory.
    """

    options: MeasureOptions
    first: str
    second: str
    partitions: int = 64

    def expand(self, pair: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """Spreads both by image, joins each part, and combines what the pairs tell."""
        spread = [
            batches | f"Partition{side}" >> beam.FlatMap(partitioned, self.partitions)
            for side, batches in zip(("First", "Second"), pair, strict=True)
        ]
        return (
            dict(zip(_SIDES, spread, strict=True))
            | "JoinByImage" >> beam.CoGroupByKey()
            | "Align" >> beam.Map(_align)
            | "CombineComparisons" >> beam.CombineGlobally(_CompareFn(self.options, self.first, self.second))
        )


def _align(group: tuple[int, dict[str, Iterable[pa.RecordBatch]]]) -> Aligned:
    return aligned(*(list(group[1][side]) for side in _SIDES))


class _CompareFn(beam.CombineFn):  # type: ignore[misc]
    def __init__(self, options: MeasureOptions, first: str, second: str) -> None:
        self._options, self._addresses = options, (first, second)

    def create_accumulator(self) -> Comparison:
        return Comparison(self._options)

    def add_input(self, accumulator: Comparison, pair: Aligned) -> Comparison:
        accumulator.count(only_first=pair.only_first, only_second=pair.only_second, duplicates=pair.duplicates)
        accumulator.add(pair.first, pair.second)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Comparison]) -> Comparison:
        merged = Comparison(self._options)
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: Comparison) -> dict[str, Any]:
        plain: dict[str, Any] = null_for_nan(accumulator.compute(*self._addresses))
        return plain

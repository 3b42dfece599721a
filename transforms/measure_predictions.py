"""Measure: predictions to one object of metrics, overall and per slice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import apache_beam as beam
import pyarrow as pa

from transforms.errors import OptionError
from transforms.measures.columns import ColumnMapping
from transforms.measures.evaluation import Evaluation
from transforms.measures.files import OURS, PredictionPart, list_parts, read_part
from transforms.measures.slices import MeasureOptions


@dataclasses.dataclass(kw_only=True)
class ReadPredictions(beam.PTransform):
    """Addresses of prediction files to Arrow record batches, a row group at a time.

    Attributes:
      mapping: which columns hold what.
    """

    mapping: ColumnMapping = OURS

    def expand(self, files: beam.PCollection) -> beam.PCollection:
        """Spreads the files' row groups over the workers and reads them."""
        return (
            files
            | "ListParts" >> beam.FlatMap(_list_parts, self.mapping)
            | "SpreadParts" >> beam.Reshuffle()
            | "ReadPart" >> beam.FlatMap(_read_part, self.mapping)
        )


@dataclasses.dataclass(kw_only=True)
class MeasurePredictions(beam.PTransform):
    """Arrow record batches of predictions to one dictionary of metrics, as metrics.schema.json describes it.

    The result is the same however the batches are cut and spread: counts exactly, figures to 1e-12.

    Attributes:
      options: slices, limits and sizes.

    Raises:
      OptionError: a limit that is not positive.
    """

    options: MeasureOptions = dataclasses.field(default_factory=MeasureOptions)

    def __post_init__(self) -> None:
        for name in ("minimum_slice", "worst", "exact_cells", "slice_exact_cells", "bits", "slice_bits", "draws"):
            value = getattr(self.options, name)
            if value < 0 or (value == 0 and name != "worst"):
                raise OptionError(f"{name} must be positive, got {value}")

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Combines the batches where they are, and what comes of them once."""
        return batches | "CombineMeasures" >> beam.CombineGlobally(_MeasureFn(self.options))


class _MeasureFn(beam.CombineFn):  # type: ignore[misc]
    def __init__(self, options: MeasureOptions) -> None:
        self._options = options

    def create_accumulator(self) -> Evaluation:
        return Evaluation(self._options)

    def add_input(self, accumulator: Evaluation, batch: pa.RecordBatch) -> Evaluation:
        accumulator.add(batch)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Evaluation]) -> Evaluation:
        merged = Evaluation(self._options)
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def compact(self, accumulator: Evaluation) -> Evaluation:
        accumulator.compact()
        return accumulator

    def extract_output(self, accumulator: Evaluation) -> dict[str, object]:
        return accumulator.compute()


def _list_parts(address: str, mapping: ColumnMapping) -> list[tuple[str, int]]:
    return [(part.address, part.row_group) for part in list_parts(address, mapping)]


def _read_part(part: tuple[str, int], mapping: ColumnMapping) -> Iterator[pa.RecordBatch]:
    return read_part(PredictionPart(*part), mapping=mapping)

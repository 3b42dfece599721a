from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from tests.transforms.measures.example import batch, random_rows
from transforms.errors import OptionError
from transforms.measure_predictions import MeasurePredictions, ReadPredictions
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions

REPEATED = ["--direct_runner_bundle_repeat=1"]
OPTIONS = MeasureOptions(exact_cells=1000, worst=7)


def _expected(rows: list[dict[str, Any]]) -> dict[str, Any]:
    evaluation = Evaluation(OPTIONS)
    evaluation.add(batch(*rows))
    return evaluation.compute()


def _rounded(value: Any) -> Any:
    """Metrics with figures to 12 decimals, so that they can be compared as a whole."""
    return json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 12))


def _is(expected: dict[str, Any]) -> Any:
    def check(actual: list[dict[str, Any]]) -> None:
        assert len(actual) == 1
        assert _rounded(actual[0]) == _rounded(expected)

    return check


@pytest.mark.parametrize("arguments", [[], REPEATED])
def test_batches_in_many_bundles_give_what_one_batch_gives(arguments: list[str]) -> None:
    rows, _, _ = random_rows(400, 6)
    parts = [batch(*rows[begin : begin + 23]) for begin in range(0, 400, 23)]
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(arguments)) as pipeline:
        batches = pipeline | beam.Create(parts) | beam.Reshuffle()
        assert_that(batches | MeasurePredictions(options=OPTIONS), _is(_expected(rows)))


@pytest.mark.parametrize("arguments", [[], REPEATED])
def test_files_are_read_by_row_group(tmp_path: Path, arguments: list[str]) -> None:
    rows, _, _ = random_rows(300, 7)
    for name, chosen in (("a", rows[:170]), ("b", rows[170:])):
        pq.write_table(pa.Table.from_batches([batch(*chosen)]), tmp_path / f"{name}.parquet", row_group_size=50)
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(arguments)) as pipeline:
        files = pipeline | beam.Create([str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")])
        measured = files | ReadPredictions() | MeasurePredictions(options=OPTIONS)
        assert_that(measured, _is(_expected(rows)))


def test_no_rows_give_one_object_without_figures() -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        measured = pipeline | beam.Create([]) | MeasurePredictions(options=OPTIONS)
        assert_that(measured, _is(Evaluation(OPTIONS).compute()))


def test_a_limit_must_be_positive() -> None:
    with pytest.raises(OptionError, match="minimum_slice must be positive, got 0"):
        MeasurePredictions(options=MeasureOptions(minimum_slice=0))

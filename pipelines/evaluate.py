"""``heliograph evaluate``: predictions to figures, overall and per slice, and a report."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence

import apache_beam as beam

from pipelines import cli, options, runner
from pipelines.measure_flags import (
    add_cluster_arguments,
    add_column_arguments,
    add_comparison_arguments,
    add_measure_arguments,
    cluster_files,
    column_mapping,
    compared_mapping,
    measure_options,
)
from pipelines.report.page import REPORT
from pipelines.report.publish import METRICS, PublishOptions, check_output, publish_evaluation
from pipelines.report.verdict import summarise
from pipelines.run_record import configuration_json, new_run_id, print_record, read_run_record
from pipelines.submission import add_submission_arguments, print_submitted
from transforms.attach_clusters import AttachClusters
from transforms.compare_predictions import ComparePredictions
from transforms.errors import OptionError
from transforms.files.filesystem import absolute, join
from transforms.measure_predictions import MeasurePredictions, ReadPredictions
from transforms.measures.columns import ColumnMapping
from transforms.measures.files import list_prediction_files
from transforms.measures.joining import CLUSTER
from transforms.measures.preview import check_predictions
from transforms.measures.slices import MeasureOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfiguration:
    """What ``heliograph evaluate`` was asked to do; written into the run record."""

    predictions: str
    output: str
    run_id: str
    thumbnails: int
    measure: MeasureOptions
    columns: ColumnMapping
    compare: str | None
    compared_columns: ColumnMapping
    clusters: int | None
    store: str | None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    parser = options.command_parser("evaluate", "Measure predictions, overall and per slice, and make a report.")
    parser.add_argument(
        "--predictions",
        required=True,
        metavar="DIR|FILE",
        help="output of heliograph score, or a Parquet, JSONL or CSV file with displayNames, confidences, labels",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help=f"where {METRICS}, {REPORT} and the like go")
    add_measure_arguments(parser)
    add_column_arguments(parser)
    add_comparison_arguments(parser)
    add_cluster_arguments(parser)
    parser.add_argument(
        "--thumbnails", type=int, default=24, help="pictures in each of the report's galleries, 100 at most; 0 for none"
    )
    parser.add_argument("--run-id", help="name of the run (default: time and chance)")
    add_submission_arguments(parser)
    return parser


def _run(argv: Sequence[str] | None) -> int:
    arguments = tuple(sys.argv[1:] if argv is None else argv)
    flags, beam_args = options.parse(_parser(), arguments)
    places = [flags.predictions, flags.output, flags.compare, flags.store]
    runner.check_runner(beam_args, places, wait=not flags.no_wait)
    started_at = time.time()
    configuration = _configuration(flags)
    files = list_prediction_files(configuration.predictions)
    check_output(configuration.output)
    features = cluster_files(flags)
    slices = [name for name in configuration.measure.slices if not (features and name == CLUSTER)]
    several = check_predictions(files, slices, configuration.columns)
    measure = dataclasses.replace(configuration.measure, multi_label=configuration.measure.multi_label or several)
    publish = PublishOptions(
        output=configuration.output,
        predictions=configuration.predictions,
        run_id=configuration.run_id,
        started_at=started_at,
        thumbnails=configuration.thumbnails,
        arguments=arguments,
        configuration=configuration_json(configuration),
    )

    def build(pipeline: beam.Pipeline) -> None:
        batches = pipeline | beam.Create(files) | ReadPredictions(mapping=configuration.columns)
        if configuration.clusters:
            batches |= AttachClusters(files=features, clusters=configuration.clusters, seed=measure.seed)
        comparison = None
        if configuration.compare:
            others = (
                pipeline
                | "CreateCompared" >> beam.Create(list_prediction_files(configuration.compare))
                | "ReadCompared" >> ReadPredictions(mapping=configuration.compared_columns)
            )
            step = ComparePredictions(options=measure, first=configuration.predictions, second=configuration.compare)
            comparison = beam.pvalue.AsSingleton((batches, others) | step)
        metrics = batches | MeasurePredictions(options=measure)
        _ = metrics | "PublishEvaluation" >> beam.Map(publish_evaluation, publish, comparison)

    address = join(configuration.output, "run.json")
    if flags.no_wait:
        print_submitted(runner.submit_pipeline(build, beam_args), configuration.run_id, address, flags.json)
        return 0
    runner.run_pipeline(build, beam_args)
    record = read_run_record(address)
    metrics = read_run_record(join(configuration.output, METRICS))
    lines = [*summarise(metrics), f"report: {join(configuration.output, REPORT)}"]
    print_record(record, flags.json, "\n".join(lines))
    return 0


def _configuration(flags: argparse.Namespace) -> EvaluateConfiguration:
    if flags.thumbnails < 0:
        raise OptionError(f"--thumbnails must not be negative, got {flags.thumbnails}")
    return EvaluateConfiguration(
        predictions=absolute(flags.predictions),
        output=absolute(flags.output),
        run_id=new_run_id(flags.run_id),
        thumbnails=flags.thumbnails,
        measure=measure_options(flags, worst=max(24, flags.thumbnails)),
        columns=column_mapping(flags),
        compare=absolute(flags.compare) if flags.compare else None,
        compared_columns=compared_mapping(flags),
        clusters=flags.clusters,
        store=absolute(flags.store) if flags.store else None,
    )


if __name__ == "__main__":
    cli.leave(main())

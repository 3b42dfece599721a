"""``heliograph score``: images, or stored features, to predictions."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence

import apache_beam as beam

from pipelines import cli, inputs, options, runner
from pipelines.progress import ProgressLine
from pipelines.run_record import (
    configuration_json,
    new_run_id,
    print_record,
    read_run_record,
    summarise_images,
)
from transforms.commit_parts import CommitOptions, CommitPredictions
from transforms.errors import OptionError, TooManyFailuresError
from transforms.files.filesystem import is_local, join, local_path
from transforms.list_images import ListImages
from transforms.model.directory import ModelDirectory
from transforms.plan_shards import AnnouncePlan, PlanShards
from transforms.score_shards import ScoreShards, stored_shards
from transforms.shards.predictor import FORMATS, ScoreOptions
from transforms.shards.workspace import Workspace
from transforms.sources.dialects import Source
from transforms.store.catalog import open_table
from transforms.store.table import FeatureTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreConfiguration:
    """What ``heliograph score`` was asked to do; written into the run record."""

    input: tuple[str, ...]
    input_format: str | None
    input_root: str | None
    store: str | None
    version: int | None
    model: str
    output: str
    max_failures: str
    shard_size: int
    run_id: str
    score: ScoreOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    parser = options.command_parser("score", "Classify images, or stored features, with a model.")
    inputs.add_input_flags(parser, required=False)
    parser.add_argument("--store", help="score the stored features of this store instead; no image is read")
    options.add_version_flag(parser)
    parser.add_argument("--model", required=True, help="MODEL for its newest version, MODEL/3 for that one")
    parser.add_argument("--output", required=True, metavar="DIR", help="where predictions_* and errors_* go")
    parser.add_argument("--format", default="parquet,jsonl", help=f"some of {','.join(FORMATS)}")
    parser.add_argument(
        "--top-k", type=options.positive(int), default=100, help="labels a prediction, best first, at most"
    )
    return parser


def _run(argv: Sequence[str] | None) -> int:
    flags, beam_args = options.parse(_parser(), argv)
    runner.check_runner(beam_args)
    started_at = time.time()
    if bool(flags.input) == bool(flags.store):
        raise OptionError("score takes either --input (images) or --store (stored features)")
    model = ModelDirectory.open(flags.model)
    table = _open_store(flags, model) if flags.store else None
    sources = inputs.recognise_inputs(flags.input or (), flags.input_format, flags.input_root) if flags.input else []
    configuration = _configuration(flags, model, table, sources)
    commit = CommitOptions(
        run_id=configuration.run_id,
        started_at=started_at,
        max_failures=configuration.max_failures,
        configuration=configuration_json(configuration),
    )
    too_many = run_graph(sources, table, model, configuration, commit, beam_args)
    output = configuration.output
    record = read_run_record(join(output, "run.json"))
    place = f"predictions: {output}/predictions_* by model {model.identifier}"
    print_record(record, flags.json, summarise_images(record, "scored", place))
    if too_many is not None:
        raise too_many
    return 0


def _open_store(flags: argparse.Namespace, model: ModelDirectory) -> FeatureTable:
    table = open_table(flags.store, model.encoder.fingerprint, flags.version)
    model.check_encoder(table.specification)
    return table


def run_graph(
    sources: Sequence[Source],
    table: FeatureTable | None,
    model: ModelDirectory,
    configuration: ScoreConfiguration,
    commit: CommitOptions,
    beam_args: Sequence[str],
) -> TooManyFailuresError | None:
    """Runs list → plan → score → commit; returns the error of a run that published and still failed."""
    score = configuration.score
    workspace = Workspace(root=score.output)
    progress = ProgressLine("scoring", workspace, score.run_id)
    purpose = f"score {model.identifier} top {score.top_k} {','.join(sorted(score.formats))}"

    def build(pipeline: beam.Pipeline) -> None:
        if table is None:
            listed = pipeline | beam.Create(list(sources)) | ListImages()
            shards, planned = listed | PlanShards(purpose=purpose, shard_size=configuration.shard_size)
            shards = shards | AnnouncePlan(workspace=workspace, run_id=score.run_id)
        else:
            files = stored_shards(table, purpose)
            shards = pipeline | "StoredShards" >> beam.Create(files)
            planned = pipeline | "Planned" >> beam.Create([("listed", sum(rows for _, _, rows in files))])
        results = shards | ScoreShards(options=score)
        _ = (results, planned) | CommitPredictions(output=score.output, model=model.provenance(), options=commit)

    try:
        runner.run_pipeline(build, beam_args, progress.update)
    except TooManyFailuresError as error:
        return error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(progress.interrupted()) from None
    finally:
        progress.end()
    return None


def _configuration(
    flags: argparse.Namespace, model: ModelDirectory, table: FeatureTable | None, sources: Sequence[Source]
) -> ScoreConfiguration:
    output = local_path(flags.output) if is_local(flags.output) else flags.output
    run_id = new_run_id(flags.run_id)
    score = ScoreOptions(
        model=model.path,
        output=output,
        run_id=run_id,
        roots=inputs.roots_of(sources),
        formats=tuple(flags.format.split(",")),
        top_k=flags.top_k,
        table=table.path if table else None,
        version=table.version if table else None,
        batch_size=flags.batch_size,
        threads=flags.threads or 0,
        timeout_seconds=flags.image_timeout,
        trust_model=flags.trust_model,
    )
    return ScoreConfiguration(
        input=tuple(flags.input or ()),
        input_format=flags.input_format,
        input_root=flags.input_root,
        store=flags.store,
        version=score.version,
        model=model.path,
        output=output,
        max_failures=inputs.check_max_failures(flags.max_failures),
        shard_size=flags.shard_size,
        run_id=run_id,
        score=score,
    )


if __name__ == "__main__":
    sys.exit(main())

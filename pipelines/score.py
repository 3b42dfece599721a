"""``heliograph score``: images, or stored features, to predictions."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pyarrow import fs

from pipelines import cli, inputs, options, runner, view_flags
from pipelines.encoder_flags import add_device_flag
from pipelines.graphs import ScoreConfiguration
from pipelines.run_record import (
    new_run_id,
    print_record,
    read_run_record,
    summarise_images,
)
from pipelines.submission import add_submission_arguments, print_submitted
from pipelines.workers import add_worker_arguments
from transforms.encoders.engines import where_installed
from transforms.errors import OptionError, StoreError
from transforms.files.filesystem import absolute, check_writable, join, open_filesystem
from transforms.model.directory import ModelDirectory
from transforms.shards.predictor import FORMATS, ScoreOptions
from transforms.sources.dialects import Source, roots_of
from transforms.store.catalog import open_table
from transforms.store.files import WORK
from transforms.store.table import FeatureTable


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    parser = options.command_parser("score", "Classify images, or stored features, with a model.")
    inputs.add_input_flags(parser, required=False)
    parser.add_argument("--store", help="score the stored features of this store instead; no image is read")
    options.add_version_flag(parser)
    parser.add_argument("--model", required=True, help="MODEL for its newest version, MODEL/3 or MODEL@alias")
    parser.add_argument("--output", required=True, metavar="DIR", help="where predictions_* and errors_* go")
    parser.add_argument("--format", default="parquet,jsonl", help=f"some of {','.join(FORMATS)}")
    parser.add_argument(
        "--top-k", type=options.positive(int), default=100, help="labels a prediction, best first, at most"
    )
    view_flags.add_tta_arguments(parser)
    add_submission_arguments(parser)
    add_worker_arguments(parser)
    add_device_flag(parser)
    return parser


def _run(argv: Sequence[str] | None) -> int:
    flags, beam_args = options.parse(_parser(), argv)
    places = [*(flags.input or ()), flags.store, flags.model, flags.output]
    runner.check_runner(beam_args, places, wait=not flags.no_wait)
    started_at = time.time()
    if bool(flags.input) == bool(flags.store):
        raise OptionError("score takes either --input (images) or --store (stored features)")
    views = view_flags.tta_of(flags)
    model = ModelDirectory.open(flags.model)
    table = _open_store(flags, model) if flags.store else None
    _check_device(flags.encoder_device, model, stored=table is not None)
    sources = inputs.given_input(flags).recognise(flags.output) if flags.input else []
    configuration = _configuration(flags, model, table, sources, views)
    graph = configuration.graph(sources, model, table, started_at)
    _tell_replaced(configuration.output, model)
    if sources:
        _tell_engine(model)
    output = configuration.output
    if flags.no_wait:
        print_submitted(graph.submit(beam_args), configuration.run_id, join(output, "run.json"), flags.json)
        return 0
    outcome = graph.run(beam_args)
    record = read_run_record(join(output, "run.json")) | {"counters": outcome.counters}
    place = f"predictions: {output}/predictions_* by model {model.identifier}"
    letters = f"{output}/errors_*.parquet"
    print_record(record, flags.json, summarise_images(record, "scored", place, letters))
    if outcome.too_many is not None:
        raise outcome.too_many
    return 0


def _open_store(flags: argparse.Namespace, model: ModelDirectory) -> FeatureTable:
    table = open_table(flags.store, model.encoder.fingerprint, flags.version)
    model.check_encoder(table.specification)
    if not table.data_files():
        raise StoreError(f"{table.path} has no rows at version {table.version}; embed images first, or name another")
    return table


def _check_device(device: str, model: ModelDirectory, *, stored: bool) -> None:
    engine = model.encoder.engine
    if device == "gpu" and (stored or engine != "tensorflow"):
        what = (
            "no network runs on stored features"
            if stored
            else f"the model's vectors are those of {engine}, on processors"
        )
        raise OptionError(f"--encoder-device gpu: {what}; leave it out")


def _check_output(address: str) -> str:
    """Accepts a directory that is not there, empty, or has predictions of ours in it."""
    output = check_writable("--output", address)
    filesystem, path = open_filesystem(output)
    names = {info.base_name for info in filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))}
    if names and not names & {"run.json", WORK}:
        raise OptionError(f"--output {output} holds other things ({min(names)} …); name an empty or a new directory")
    return output


def _tell_replaced(output: str, model: ModelDirectory) -> None:
    """Says so when predictions of another model are about to be replaced."""
    filesystem, path = open_filesystem(join(output, "run.json"))
    if filesystem.get_file_info(path).type == fs.FileType.File:
        earlier = read_run_record(join(output, "run.json")).get("model", {}).get("identifier")
        if earlier and earlier != model.identifier:
            print(
                f"heliograph: note: {output} has predictions of model {earlier}, which those of {model.identifier} "
                "will replace; name another --output to keep both",
                file=sys.stderr,
            )


def _tell_engine(model: ModelDirectory) -> None:
    """Says so when another engine takes the place of the one that computed the model's features."""
    engine = where_installed(model.encoder).engine
    if engine != model.encoder.engine:
        print(
            f"heliograph: note: {model.encoder.engine}, which computed the model's features, is not installed here; "
            f"{engine} does, if it gives the model's vectors of the golden images",
            file=sys.stderr,
        )


def _configuration(
    flags: argparse.Namespace,
    model: ModelDirectory,
    table: FeatureTable | None,
    sources: Sequence[Source],
    views: Mapping[str, Any],
) -> ScoreConfiguration:
    output = _check_output(flags.output)
    run_id = new_run_id(flags.run_id)
    score = ScoreOptions(
        model=model.path,
        output=output,
        run_id=run_id,
        roots=roots_of(sources),
        formats=tuple(flags.format.split(",")),
        top_k=flags.top_k,
        table=table.path if table else None,
        version=table.version if table else None,
        batch_size=flags.batch_size or 0,
        threads=flags.threads or 0,
        timeout_seconds=flags.image_timeout,
        trust_model=flags.trust_model,
        device=flags.encoder_device,
        **views,
    )
    return ScoreConfiguration(
        **vars(inputs.given_input(flags)),
        store=flags.store and absolute(flags.store),
        version=score.version,
        model=model.path,
        output=output,
        max_failures=inputs.check_max_failures(flags.max_failures),
        shard_size=flags.shard_size,
        run_id=run_id,
        score=score,
        price_per_core_hour=flags.price_per_core_hour,
        accelerator=flags.accelerator,
    )


if __name__ == "__main__":
    cli.leave(main())

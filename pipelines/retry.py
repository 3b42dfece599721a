"""``heliograph retry``: another go at the images that failed."""

from __future__ import annotations

import collections
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pyarrow import fs

from pipelines import cli, options, runner
from pipelines.graphs import EmbedConfiguration, ScoreConfiguration
from pipelines.run_record import new_run_id, print_record, read_run_record, summarise_images
from transforms.commit_parts import run_record_address
from transforms.errors import StoreError, TooManyFailuresError
from transforms.files.filesystem import join, open_filesystem
from transforms.model.directory import ModelDirectory
from transforms.shards.workspace import Workspace
from transforms.store.catalog import list_tables
from transforms.store.dead_letters import read_dead_letters
from transforms.store.table import FeatureTable


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = options.command_parser("retry", "Try the images again that failed, as the recorded run tried them.")
    parser.add_argument("place", metavar="STORE-OR-DIR", help="a feature store, or a directory of predictions")
    flags, beam_args = options.parse(parser, argv)
    runner.check_runner(beam_args, [flags.place])
    filesystem, path = open_filesystem(flags.place)
    if filesystem.get_file_info(join(path, "run.json")).type == fs.FileType.File:
        outcomes = _retry_predictions(flags.place, beam_args)
    else:
        tables = [entry.path for entry in list_tables(flags.place)]
        outcomes = [outcome for table in tables for outcome in _retry_table(table, beam_args)]
    for record, verb, place, _ in outcomes:
        print_record(record, flags.json, summarise_images(record, verb, place))
    if not outcomes:
        print("no image has failed, there is nothing to try again", file=sys.stderr)
    for record, *_, too_many in outcomes:
        if too_many is not None:
            raise TooManyFailuresError(f"{record['failed']:,} of {record['listed']:,} failed again") from too_many
    return 0


Outcome = tuple[Mapping[str, Any], str, str, TooManyFailuresError | None]
"""Run record, what is done to the images, where the result is, and the error of a run that still failed."""


def _retry_table(table: str, beam_args: Sequence[str]) -> list[Outcome]:
    """Runs each run's graph again, narrowed to its dead letters."""
    failed: dict[str, set[str]] = collections.defaultdict(set)
    for batch in read_dead_letters(table):
        for run_id, image_id in zip(*(batch.column(name).to_pylist() for name in ("run_id", "image_id")), strict=True):
            failed[run_id].add(image_id)
    outcomes: list[Outcome] = []
    for run_id, image_ids in sorted(failed.items()):
        try:
            record = read_run_record(run_record_address(table, run_id))
        except FileNotFoundError as error:
            raise StoreError(f"{table} has no record of run {run_id}; embed its images again instead") from error
        recorded = EmbedConfiguration.from_json(record["configuration"])
        again = dataclasses.replace(recorded, run_id=new_run_id(None), sync=False)
        sources = again.recognise()
        graph = again.graph(sources, FeatureTable.open(table).specification, time.time())
        too_many = dataclasses.replace(graph, only=frozenset(image_ids)).run(beam_args).too_many
        record = read_run_record(run_record_address(table, again.run_id))
        place = f"features: {table}, version {record['table_version']}"
        outcomes.append((record, "embedded", place, too_many))
    return outcomes


def _retry_predictions(output: str, beam_args: Sequence[str]) -> list[Outcome]:
    """Runs the recorded graph again; shards without a dead letter are kept."""
    record = read_run_record(join(output, "run.json"))
    if "scored" not in record:
        raise StoreError(f"{output} holds no predictions; name what `heliograph score` made, or a store")
    shards = [file.removeprefix("errors_").split(".")[0] for file in record["files"] if file.startswith("errors_")]
    if not shards:
        return []
    Workspace(root=output).forget(shards)
    recorded = ScoreConfiguration.from_json(record["configuration"])
    run_id = new_run_id(None)
    again = dataclasses.replace(recorded, run_id=run_id, score=dataclasses.replace(recorded.score, run_id=run_id))
    sources = again.recognise()
    graph = again.graph(sources, ModelDirectory.open(again.model), None, time.time())
    too_many = graph.run(beam_args).too_many
    record = read_run_record(join(output, "run.json"))
    return [(record, "scored", f"predictions: {output}/predictions_*", too_many)]


if __name__ == "__main__":
    cli.leave(main())

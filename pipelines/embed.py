"""``heliograph embed``: images to a feature store."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from pipelines import cli, encoder_flags, inputs, options, runner
from pipelines.dry_run import print_plan
from pipelines.graphs import EmbedGraph
from pipelines.run_record import (
    configuration_json,
    new_run_id,
    print_record,
    read_run_record,
    summarise_images,
)
from transforms.commit_parts import CommitOptions, run_record_address
from transforms.encoders.specification import EncoderSpecification
from transforms.files.filesystem import check_writable, join
from transforms.shards.embedder import EmbedOptions
from transforms.sources.columns import Columns
from transforms.sources.dialects import Source
from transforms.sources.split import SplitRatios
from transforms.store.catalog import check_store
from transforms.store.table import FeatureTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedConfiguration:
    """What ``heliograph embed`` was asked to do; written into the run record."""

    input: tuple[str, ...]
    input_format: str | None
    input_root: str | None
    columns: Columns
    store: str
    encoder: str
    split: str
    max_failures: str
    shard_size: int
    batch_size: int
    threads: int | None
    image_timeout: float
    run_id: str
    trust_model: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    parser = options.command_parser("embed", "Compute embeddings of images into a feature store.")
    inputs.add_input_flags(parser)
    parser.add_argument("--store", required=True, help="directory of the feature store; made when it is not there")
    parser.add_argument(
        "--split",
        default="80/10/10",
        metavar="T/V/T",
        help="shares of train, validation and test for images whose input does not say",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan, write nothing")
    parser.add_argument(
        "--price-per-core-hour",
        type=options.positive(float),
        metavar="PRICE",
        help="for the plan's estimate of cost",
    )
    encoder_flags.add_encoder_flags(parser)
    return parser


def _run(argv: Sequence[str] | None) -> int:
    flags, beam_args = options.parse(_parser(), argv)
    runner.check_runner(beam_args)
    started_at = time.time()
    configuration = _configuration(flags)
    split = SplitRatios.parse(configuration.split)
    check_store(configuration.store)
    sources = inputs.recognise_inputs(
        configuration.input, configuration.input_format, configuration.input_root, configuration.columns
    )
    specification = encoder_flags.resolve(flags)
    embed = _embed_options(configuration, specification, sources, split)
    commit = CommitOptions(
        run_id=configuration.run_id,
        started_at=started_at,
        max_failures=configuration.max_failures,
        configuration=configuration_json(configuration),
    )
    graph = EmbedGraph(sources=sources, embed=embed, commit=commit, shard_size=configuration.shard_size)
    if flags.dry_run:
        print_plan(graph, flags.price_per_core_hour, flags.json, beam_args)
        return 0
    too_many = graph.run(beam_args)
    record = read_run_record(run_record_address(embed.table, configuration.run_id))
    place = f"features: {embed.table}, version {record['table_version']}"
    print_record(record, flags.json, summarise_images(record, "embedded", place))
    if too_many is not None:
        raise too_many
    return 0


def _configuration(flags: argparse.Namespace) -> EmbedConfiguration:
    return EmbedConfiguration(
        input=tuple(flags.input),
        input_format=flags.input_format,
        input_root=flags.input_root,
        columns=inputs.columns_of(flags),
        store=check_writable("--store", flags.store),
        encoder=flags.encoder,
        split=flags.split,
        max_failures=inputs.check_max_failures(flags.max_failures),
        shard_size=flags.shard_size,
        batch_size=flags.batch_size,
        threads=flags.threads,
        image_timeout=flags.image_timeout,
        run_id=new_run_id(flags.run_id),
        trust_model=flags.trust_model,
    )


def _embed_options(
    configuration: EmbedConfiguration,
    specification: EncoderSpecification,
    sources: list[Source],
    split: SplitRatios,
) -> EmbedOptions:
    table = join(configuration.store, specification.table_name)
    fields: dict[str, Any] = {"version": FeatureTable.open(table).version if FeatureTable.exists(table) else None}
    return EmbedOptions(
        table=table,
        specification=specification,
        run_id=configuration.run_id,
        roots=inputs.roots_of(sources),
        split=split,
        batch_size=configuration.batch_size,
        threads=configuration.threads or 0,
        timeout_seconds=configuration.image_timeout,
        trust_model=configuration.trust_model,
        **fields,
    )


if __name__ == "__main__":
    cli.leave(main())

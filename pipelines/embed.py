"""``heliograph embed``: images to a feature store."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from pipelines import cli, encoder_flags, inputs, options, runner
from pipelines.dry_run import print_plan
from pipelines.graphs import EmbedConfiguration
from pipelines.report.publish_embedding import add_report_arguments, write_report
from pipelines.run_record import new_run_id, print_record, read_run_record, summarise_images
from pipelines.submission import add_submission_arguments, print_submitted
from pipelines.view_flags import add_view_arguments
from pipelines.workers import add_worker_arguments
from transforms.commit_parts import run_record_address
from transforms.files.filesystem import check_writable, join
from transforms.store import dead_letters
from transforms.store.catalog import check_store


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
    parser.add_argument(
        "--sync",
        action="store_true",
        help="take out the rows of images that the input has no longer (a manifest speaks for all below its root)",
    )
    add_view_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan, write nothing")
    add_submission_arguments(parser)
    add_report_arguments(parser)
    encoder_flags.add_encoder_flags(parser)
    add_worker_arguments(parser)
    return parser


def _run(argv: Sequence[str] | None) -> int:
    flags, beam_args = options.parse(_parser(), argv)
    places = [*flags.input, flags.store]
    beam_options = runner.check_runner(beam_args, places, encoder=flags.encoder, wait=not flags.no_wait)
    started_at = time.time()
    configuration = _configuration(flags)
    check_store(configuration.store)
    sources = configuration.recognise(flags.store)
    encoder = encoder_flags.resolve(flags, sources, runner.works_here(beam_options))
    graph = configuration.graph(sources, encoder, started_at)
    if flags.dry_run:
        print_plan(graph, flags.price_per_core_hour, flags.json, beam_args)
        return 0
    address = run_record_address(graph.embed.table, configuration.run_id)
    if flags.no_wait:
        print_submitted(graph.submit(beam_args), configuration.run_id, address, flags.json)
        return 0
    outcome = graph.run(beam_args)
    record = read_run_record(address) | {"counters": outcome.counters}
    place = f"features: {graph.embed.table}, version {record['table_version']}"
    if not flags.no_report:
        command = options.command_line(_parser(), flags)
        report = write_report(record, command)
        place += f"\nreport: {report}" if report else ""
    letters = join(graph.embed.table, dead_letters.DIRECTORY, configuration.run_id)
    print_record(record, flags.json, summarise_images(record, "embedded", place, letters))
    if outcome.too_many is not None:
        raise outcome.too_many
    return 0


def _configuration(flags: argparse.Namespace) -> EmbedConfiguration:
    return EmbedConfiguration(
        **vars(inputs.given_input(flags)),
        store=check_writable("--store", flags.store),
        encoder=flags.encoder,
        split=flags.split,
        max_failures=inputs.check_max_failures(flags.max_failures),
        shard_size=flags.shard_size,
        batch_size=flags.batch_size or 0,
        threads=flags.threads,
        image_timeout=flags.image_timeout,
        run_id=new_run_id(flags.run_id),
        sync=flags.sync,
        trust_model=flags.trust_model,
        views=flags.views,
        augment=flags.augment,
        encoder_device=flags.encoder_device,
        price_per_core_hour=flags.price_per_core_hour,
        accelerator=flags.accelerator,
    )


if __name__ == "__main__":
    cli.leave(main())

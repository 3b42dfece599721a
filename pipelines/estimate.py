"""``heliograph estimate``: minutes and cost on a number of workers, from a timed sample of the images."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines import cli, encoder_flags, inputs, options, scaling
from pipelines.estimate_words import for_a_person
from pipelines.sampling import Sample, time_sample
from pipelines.scaling import Fleet, Job
from pipelines.view_flags import add_view_arguments, views_of
from pipelines.workers import cores_of, nearly
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import InputError, OptionError
from transforms.images.augment import NO_VIEWS
from transforms.machine.cores import usable_cores
from transforms.shards.embedder import EmbedOptions
from transforms.sources.dialects import Source, roots_of
from transforms.sources.split import SplitRatios

SAMPLE_IMAGES = 256
WORKERS_SHOWN = (1, 4, 16, 64)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    parser = options.command_parser("estimate", "Tell what an embed would take on a number of workers; writes nothing.")
    inputs.add_reading_flags(parser)
    inputs.add_batch_flags(parser)
    positive = options.positive
    parser.add_argument("--images", type=positive(int), metavar="N", help="there will be (default: those of the input)")
    parser.add_argument("--sample", type=positive(int), default=SAMPLE_IMAGES, metavar="N", help="images to be timed")
    parser.add_argument("--workers", type=positive(int), metavar="N", help="machines (default: several numbers)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--machine-type", metavar="TYPE", help="of a worker, such as n1-standard-4 or m5.xlarge")
    kind.add_argument("--cores-per-worker", type=positive(int), metavar="N", help="default: as many as here")
    parser.add_argument(
        "--core-speed",
        type=positive(float),
        default=1.0,
        metavar="X",
        help="of a worker's core, where one of this machine has 1; a virtual core is often half a core",
    )
    parser.add_argument(
        "--start-minutes", type=positive(float), default=3.0, metavar="MIN", help="until workers work; assumed"
    )
    parser.add_argument(
        "--round-trip-ms",
        type=float,
        default=30.0,
        metavar="MS",
        help="of the object store that holds store and plan; assumed, 0 for a disk",
    )
    parser.add_argument(
        "--price-per-hour", "--price", type=positive(float), metavar="PRICE", help="of one worker, in any currency"
    )
    parser.add_argument("--store", help="feature store to be added to: the engine of its table is taken")
    add_view_arguments(parser)
    encoder_flags.add_encoder_flags(parser)
    return parser


def _run(argv: Sequence[str] | None) -> int:
    flags, beam_args = options.parse(_parser(), argv)
    if beam_args:
        raise OptionError(f"{beam_args[0]} is for a run; estimate takes --workers and --machine-type")
    if not 0 <= flags.round_trip_ms < float("inf"):
        raise OptionError(f"--round-trip-ms must be 0 or more, got {flags.round_trip_ms:g}")
    cores = _cores(flags)
    load = os.getloadavg()[0]
    if load > usable_cores() / 2:
        busy = f"this machine is busy (load {load:.1f} on {usable_cores()} cores), the sample's time will be too long"
        print(f"heliograph: note: {busy}", file=sys.stderr)
    sources = inputs.given_input(flags).recognise()
    specification = encoder_flags.resolve(flags, sources, works_here=False)
    sample = time_sample(sources, _embed_options(flags, sources, specification), flags.sample)
    if sample.failed == sample.images:
        raise InputError(f"none of the {sample.images} sampled images can be embedded: {sample.failure_example}")
    job = Job(
        images=flags.images or sum(1 for source in sources for _ in source.list_images()),
        images_per_core_second=sample.images_per_core_second * flags.core_speed,
        variation=sample.variation,
        shard_size=flags.shard_size,
        listings=len(sources),
        dimension=specification.dimension,
        round_trip=flags.round_trip_ms / 1000,
    )
    fleets = [
        Fleet(workers=workers, cores=cores, start_seconds=flags.start_minutes * 60, price_per_hour=flags.price_per_hour)
        for workers in _numbers_of_workers(flags.workers)
    ]
    record = _record(flags, job, sample, cores, [scaling.estimate(job, fleet) for fleet in fleets])
    print(json.dumps(record, indent=2) if flags.json else for_a_person(record))
    return 0


def _cores(flags: argparse.Namespace) -> int:
    if flags.machine_type is None:
        return flags.cores_per_worker or usable_cores()
    cores = cores_of(flags.machine_type)
    if cores is None:
        raise OptionError(
            f"--machine-type {flags.machine_type} does not say its cores; give --cores-per-worker instead, or a name "
            f"such as n1-standard-4 or m5.xlarge{nearly(flags.machine_type)}"
        )
    return cores


def _numbers_of_workers(asked: int | None) -> list[int]:
    """Returns what was asked for, with less and more beside it."""
    if asked is None:
        return list(WORKERS_SHOWN)
    return sorted({1, max(1, asked // 4), max(1, asked // 2), asked, 2 * asked, 4 * asked})


def _embed_options(
    flags: argparse.Namespace, sources: Sequence[Source], specification: EncoderSpecification
) -> EmbedOptions:
    return EmbedOptions(
        table="",
        version=None,
        specification=specification,
        run_id="",
        roots=roots_of(sources),
        split=SplitRatios.parse("80/10/10"),
        views=views_of(flags.views, flags.augment, NO_VIEWS),
        batch_size=flags.batch_size or 0,
        threads=flags.threads or 0,
        timeout_seconds=flags.image_timeout,
        trust_model=flags.trust_model,
        device=flags.encoder_device,
    )


def _record(
    flags: argparse.Namespace, job: Job, sample: Sample, cores: int, estimates: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "images": job.images,
        "shards": job.shards,
        "sample": {
            **sample._asdict(),
            "images_per_core_second": round(sample.images_per_core_second, 2),
            "machine": platform.processor() or platform.machine(),
        },
        "worker": {"type": flags.machine_type, "cores": cores, "price_per_hour": flags.price_per_hour},
        "assumed": {
            "core_speed": flags.core_speed,
            "start_minutes": flags.start_minutes,
            "round_trip_ms": flags.round_trip_ms,
            **{name.lower(): getattr(scaling, name) for name in ("LIST_SECONDS", "PLAN_SECONDS", "COMMIT_SECONDS")},
        },
        "job": dataclasses.asdict(job),
        "bytes": job.bytes(),
        "estimates": list(estimates),
    }


if __name__ == "__main__":
    cli.leave(main(sys.argv[1:]))

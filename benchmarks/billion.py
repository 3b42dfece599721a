"""A model on paper of a large embed: the tables of docs/scaling.md, from the rates that stand in pipelines/scaling.py.

python -m benchmarks.billion [--images 1000000000] [--images-per-core-second 110] [--price-per-hour PRICE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipelines.progress import duration
from pipelines.scaling import Fleet, Job, estimate

SHARD_SIZES = (1_000, 10_000)
WORKERS = (10, 100, 1000)
LISTINGS = 1000
UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (0.0, "kB"))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--images", type=int, default=10**9)
    parser.add_argument("--images-per-core-second", type=float, default=110.0)
    parser.add_argument("--round-trip-ms", type=float, default=30.0, help="of the object store")
    parser.add_argument("--cores", type=int, default=4, help="of a worker")
    parser.add_argument("--price-per-hour", type=float, help="of a worker")
    flags = parser.parse_args(argv)
    jobs = [
        Job(
            images=flags.images,
            images_per_core_second=flags.images_per_core_second,
            shard_size=size,
            listings=LISTINGS,
            round_trip=flags.round_trip_ms / 1000,
        )
        for size in SHARD_SIZES
    ]
    print("| " + " | ".join(["", *(f"shards of {job.shard_size:,}" for job in jobs)]) + " |")
    print("|---" * (len(jobs) + 1) + "|")
    print("| shards | " + " | ".join(f"{job.shards:,}" for job in jobs) + " |")
    print("| row groups read by the plan | " + " | ".join(f"{job.plan_reads:,}" for job in jobs) + " |")
    for name in jobs[0].bytes():
        print(f"| {name.replace('_', ' ')} | " + " | ".join(in_units(job.bytes()[name]) for job in jobs) + " |")
    print()
    phases = ("start", "list", "plan", "embed", "commit")
    cost = ["cost"] if flags.price_per_hour is not None else []
    columns = ["workers", "cores", "shards of", "time", *phases, "tail", "worker-hours", *cost]
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    for workers in WORKERS:
        for job in jobs:
            fleet = Fleet(workers=workers, cores=flags.cores, start_seconds=180, price_per_hour=flags.price_per_hour)
            found = estimate(job, fleet)
            spans = [found["seconds"], *(found["phases"][phase] for phase in phases), found["tail_seconds"]]
            money = [f"{found['cost']:,.0f}"] if cost else []
            row = [f"{workers:,}", f"{found['cores']:,}", f"{job.shard_size:,}", *map(duration, spans)]
            print("| " + " | ".join([*row, f"{found['worker_hours']:,.0f}", *money]) + " |")
    return 0


def in_units(count: float) -> str:
    """Returns bytes in the largest unit that they fill."""
    size, unit = next((size, unit) for size, unit in UNITS if count >= size)
    return f"{count / (size or 1e3):,.1f} {unit}"


if __name__ == "__main__":
    sys.exit(main())

"""How a run grows: seconds, bytes and cost of any number of images on any number of workers, from measured rates."""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from typing import Any

from transforms.files.runs import RANGE_ROWS, RANGES, REMOTE_THREADS, RUN_ROWS
from transforms.files.threads import THREADS

LIST_SECONDS = 11e-6
"""An image of a manifest, of the one process that reads it; benchmarks/manifest_memory.py."""

PLAN_SECONDS = 13e-6
"""Core-seconds an image to sort, join and cut, spread over workers; benchmarks/manifest_memory.py --plan."""

COMMIT_SECONDS = 0.8e-3
"""A shard, of the one process that commits; a local disk; benchmarks/commit_memory.py."""

COMMIT_TRIPS = 5
"""Round trips to an object store a shard: of its part's footer three, of its marker two. Counted, not measured."""

COMMIT_BYTES = 12_000
"""Of memory in the process that commits, a shard; benchmarks/commit_memory.py."""

LOG_BYTES = 620
"""A shard; benchmarks/commit_memory.py."""

RESULT_BYTES = 550
"""That a worker reports of a shard; benchmarks/commit_memory.py."""

SHARD_BYTES = 120
"""Description of a shard; it crosses two shuffles. Measured on a plan of 300,000 images."""

RUN_BYTES = 1_500
"""Description of a sorted run of RUN_ROWS: a key of 20 bytes for each 1,024 rows, and its address."""

PLAN_BYTES = 300
"""An image, on disk while the run lasts; docs/decisions/0007-plans-are-sorted-files.md."""

ROW_BYTES = 61
"""Of a stored row beside its vector; benchmarks/commit_memory.py."""

TAIL_SHARDS = 20
"""A worker, that are dealt one by one; before them nobody waits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be done.

    Attributes:
      images: number.
      images_per_core_second: of the workers' cores.
      variation: of an image's seconds: standard deviation over mean.
      shard_size: images a shard, about.
      listings: files or folders that are listed side by side.
      dimension: of a vector.
      round_trip: seconds that a read of an object takes to begin; 0 for a disk.
    """

    images: int
    images_per_core_second: float
    variation: float = 0.5
    shard_size: int = 1000
    listings: int = 1
    dimension: int = 1280
    round_trip: float = 0.0

    @property
    def shards(self) -> int:
        """How many there are, about."""
        return -(-self.images // self.shard_size)

    @property
    def plan_reads(self) -> int:
        """Row groups that are read while the plan is made: every range of keys is looked for in every run."""
        runs = -(-self.images // RUN_ROWS)
        return runs * max(min(-(-self.images // RANGE_ROWS), RANGES), -(-self.images // 1_000_000))

    def bytes(self) -> dict[str, int]:
        """Returns what the job stores and shuffles, whoever works on it."""
        runs = -(-self.images // RUN_ROWS)
        return {
            "store": self.images * (4 * self.dimension + ROW_BYTES),
            "plan_files": self.images * PLAN_BYTES,
            "shuffled": runs * RUN_BYTES + self.shards * (2 * SHARD_BYTES + RESULT_BYTES),
            "log": self.shards * LOG_BYTES,
            "commit_memory": self.shards * COMMIT_BYTES,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fleet:
    """Who does it.

    Attributes:
      workers: machines.
      cores: of each.
      start_seconds: until they work; they are paid for.
      price_per_hour: of a worker; None when nobody said.
    """

    workers: int
    cores: int
    start_seconds: float
    price_per_hour: float | None = None


def estimate(job: Job, fleet: Fleet) -> dict[str, Any]:
    """Returns seconds of each phase, and what they cost: all workers are kept from beginning to end."""
    cores = fleet.workers * fleet.cores
    work, tail = _deal(job, fleet)
    seconds = {
        "start": fleet.start_seconds,
        "list": job.images * LIST_SECONDS / min(job.listings, cores),
        "plan": job.images * PLAN_SECONDS / cores + job.plan_reads * job.round_trip / REMOTE_THREADS / fleet.workers,
        "embed": work,
        "commit": job.shards * (COMMIT_SECONDS + COMMIT_TRIPS * job.round_trip / THREADS),
    }
    total = sum(seconds.values())
    hours = fleet.workers * total / 3600
    estimated: dict[str, Any] = {
        "workers": fleet.workers,
        "cores": cores,
        "seconds": round(total, 1),
        "phases": {name: round(value, 1) for name, value in seconds.items()},
        "tail_seconds": round(tail, 1),
        "worker_hours": round(hours, 3),
    }
    if fleet.price_per_hour is not None:
        estimated["cost"] = round(hours * fleet.price_per_hour, 4)
    return estimated


def _deal(job: Job, fleet: Fleet) -> tuple[float, float]:
    """Returns the seconds until the last shard is done, and for how many of them somebody has none.

    Whoever is free takes the next shard. A shard's images fall into it by a hash, so their number varies as Poisson's.
    """
    workers = min(fleet.workers, job.shards)
    each = job.images / job.shards
    mean = each / (job.images_per_core_second * fleet.cores)
    deviation = mean * math.sqrt((1 + job.variation**2) / each)
    dealt = min(job.shards, workers * TAIL_SHARDS)
    before = (job.shards - dealt) * mean / workers
    generator = random.Random(0)
    free = [before] * workers
    for _ in range(dealt):
        heapq.heapreplace(free, free[0] + max(mean / 10, generator.gauss(mean, deviation)))
    return max(free), max(free) - (min(free) if workers == fleet.workers else 0.0)

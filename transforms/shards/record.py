"""The run record: what a run did, written beside its output by the step that publishes it."""

from __future__ import annotations

import collections
import datetime
import importlib.metadata
import platform
import resource
import time
from collections.abc import Mapping, Sequence
from typing import Any

from transforms.errors import CommitError, OptionError
from transforms.shards.shard import ShardResult

CLASSES_TOLD = 1000
"""Labels, or predicted classes, that a record counts: the most frequent."""

PACKAGES = (
    "heliograph",
    "apache-beam",
    "tensorflow",
    "ai-edge-litert",
    "openvino",
    "pillow",
    "pyarrow",
    "deltalake",
    "numpy",
)

PLANNED = ("new", "changed", "relabelled", "augmented", "reused", "removed")
"""The plan's counts that a run record shows."""


def peak_memory_mb() -> float:
    """Returns the most memory that this process has had so far, in MB (ru_maxrss is in KiB on Linux)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)


def software_versions() -> dict[str, str]:
    """Returns the versions of what the result depends on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def summarise(
    results: Sequence[ShardResult], planned: Mapping[str, int], run_id: str, started_at: float, verb: str
) -> dict[str, Any]:
    """Adds up a run.

    Args:
      results: of all shards.
      planned: the plan's counts: ``listed``, ``reused`` …
      run_id: of the run.
      started_at: seconds since the epoch.
      verb: ``embedded`` or ``scored``: what the images that went through the network are called.

    Raises:
      CommitError: unless listed = embedded + reused + failed.
    """
    failures: collections.Counter[str] = collections.Counter()
    stages: collections.Counter[str] = collections.Counter()
    done = copied = resumed = 0
    example = ""
    for result in results:
        failures.update(result.failures)
        stages.update(result.stage_seconds)
        done += result.encoded
        copied += result.copied
        resumed += result.encoded if result.resumed else 0
        example = example or result.failure_example
    seconds = time.time() - started_at
    record: dict[str, Any] = {
        "run_id": run_id,
        "started_at": datetime.datetime.fromtimestamp(started_at, datetime.UTC).isoformat(),
        "listed": planned.get("listed", 0),
        verb: done,
        "reused": planned.get("reused", 0) + copied,
        "failed": failures.total(),
        "resumed": resumed,
        "copied": copied,
        "plan": {name: planned.get(name, 0) for name in PLANNED},
        "failures": dict(sorted(failures.items())),
        "failure_example": example,
        **_class_counts(results),
        "seconds": round(seconds, 3),
        "images_per_second": round((done - resumed) / seconds, 1) if seconds > 0 else 0.0,
        "stage_seconds": {stage: round(value, 3) for stage, value in sorted(stages.items())},
        "peak_memory_mb": max([peak_memory_mb(), *(result.peak_memory_mb for result in results)]),
        "lanes": _lanes(results),
        "versions": software_versions(),
    }
    if record["listed"] != record[verb] + record["reused"] + record["failed"]:
        raise CommitError(
            f"{record['listed']} images were listed, but {record[verb]} {verb} + {record['reused']} reused + "
            f"{record['failed']} failed do not add up to that; nothing is published"
        )
    return record


def cost_of_work(core_seconds: float, images: int, price: float | None) -> dict[str, float]:
    """Returns what images cost: in core-seconds and, given the price of a core's hour, in its currency.

    Args:
      core_seconds: cores × seconds in which they were worked on.
      images: that were.
      price: of a core's hour; None when nobody said.
    """
    figures = {"core_seconds": round(core_seconds, 3)}
    if core_seconds > 0:
        figures["images_per_core_second"] = round(images / core_seconds, 2)
    if price is not None:
        cost = core_seconds / 3600 * price
        figures |= {"price_per_core_hour": price, "cost": round(cost, 6)}
        if cost > 0:
            figures["images_per_dollar"] = round(images / cost)
    return figures


def _lanes(results: Sequence[ShardResult]) -> list[dict[str, int]]:
    """How the run's own shards were worked on: each of the ways, and its ``shards``."""
    ways = collections.Counter(tuple(result.lanes.items()) for result in results if result.lanes and not result.resumed)
    return [{**dict(way), "shards": shards} for way, shards in ways.most_common()]


def _class_counts(results: Sequence[ShardResult]) -> dict[str, Any]:
    classes: collections.Counter[str] = collections.Counter()
    for result in results:
        classes.update(result.classes)
    told = classes.most_common(CLASSES_TOLD)
    return {"classes": dict(told), "further_classes": len(classes) - len(told)}


def allowed_failures(text: str, listed: int) -> float:
    """Returns how many dead letters ``--max-failures`` allows: ``20``, or ``5%`` of the listed.

    Raises:
      OptionError: for anything else.
    """
    number = text.strip().removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    is_share = text.strip().endswith("%")
    if not 0 <= value < float("inf") or (is_share and value > 100):
        raise OptionError(f"--max-failures must be a number such as 20 or a share such as 5%, got {text!r}")
    return value / 100 * listed if is_share else value

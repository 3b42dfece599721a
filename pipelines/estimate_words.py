"""What ``heliograph estimate`` says to a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.progress import duration
from transforms.measures.remarks import plural


def for_a_person(record: Mapping[str, Any]) -> str:
    """Returns a table, a row a number of workers, and what it rests on."""
    sample, worker, assumed = record["sample"], record["worker"], record["assumed"]
    rate = sample["images"] / sample["seconds"]
    failed = f", {sample['failed']:,} failed" if sample["failed"] else ""
    rows: list[tuple[str, ...]] = [
        ("workers", "cores", "time", "start", "embed", "tail", "other", "worker-hours", "cost")
    ]
    for found in record["estimates"]:
        phases = found["phases"]
        other = phases["list"] + phases["plan"] + phases["commit"]
        spans = (found["seconds"], phases["start"], phases["embed"], found["tail_seconds"], other)
        cost = f"{found['cost']:,.2f}" if "cost" in found else ""
        numbers = (f"{found['workers']:,}", f"{found['cores']:,}")
        rows.append((*numbers, *map(duration, spans), f"{found['worker_hours']:,.2f}", cost))
    if worker["price_per_hour"] is None:
        rows = [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    kind = worker["type"] or plural(worker["cores"], "core")
    return "\n".join(
        [
            f"{plural(sample['images'], 'image')} timed here{failed}: {rate:,.0f} images/s on "
            f"{plural(sample['cores'], 'core')}, "
            f"{sample['images_per_core_second']:,.1f} a core-second",
            f"{plural(record['images'], 'image')} in {plural(record['shards'], 'shard')}, on workers of {kind}:",
            "",
            *("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows),
            "",
            "embed ends with a tail, in which some workers have no shard any more; other: list, plan, commit.",
            f"assumed: a core of theirs does {assumed['core_speed']:g} times what one here does (--core-speed), images "
            f"are read as fast as here, a round trip takes {assumed['round_trip_ms']:g} ms (--round-trip-ms),",
            f"workers start in {assumed['start_minutes']:g} minutes (--start-minutes), all are paid for until the end",
            *_hints(record),
        ]
    )


def _hints(record: Mapping[str, Any]) -> Iterator[str]:
    if any(found["workers"] > record["shards"] for found in record["estimates"]):
        size = record["job"]["shard_size"]
        yield f"workers beyond the number of shards have nothing to do; a --shard-size below {size} helps"
    if record["worker"]["price_per_hour"] is None:
        yield "--price-per-hour tells the cost"

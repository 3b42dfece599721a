"""How fast a run was, and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.progress import duration
from pipelines.report.page import Section


def throughput(record: Mapping[str, Any], verb: str) -> Section | None:
    """Returns the section; None when the record tells no speed.

    Args:
      record: run.json of a command that handles images.
      verb: what it did to them, as ``scored``; also the field with their number.
    """
    if not record.get("seconds") or not record.get("images_per_second"):
        return None
    cards = [
        (f"{record['images_per_second']:,.0f}", "images per second", f"{record.get(verb, 0):,} {verb}"),
        (duration(record["seconds"]), "time", "from start to end"),
    ]
    if record.get("images_per_core_second"):
        note = f"{record['core_seconds']:,.0f} core-seconds of work on shards"
        cards.append((f"{record['images_per_core_second']:,.1f}", "images a core-second", note))
    if record.get("peak_memory_mb"):
        cards.append((f"{record['peak_memory_mb']:,.0f} MB", "peak memory", "of one process"))
    if record.get("cost"):
        note = f"{record['images_per_dollar']:,} images for 1, at {record['price_per_core_hour']:g} a core's hour"
        cards.append((f"{record['cost']:.2g}", "cost", note))
    stages = record.get("stage_seconds") or {}
    total = sum(stages.values())
    rows = [
        [name, (f"{seconds:.1f} s", seconds), (f"{seconds / total:.0%}" if total else "–", seconds)]
        for name, seconds in sorted(stages.items(), key=lambda item: -item[1])
    ]
    data = {"cards": cards, "rows": rows}
    return Section(id="throughput", title="How fast it was", short="Speed", template="throughput", data=data)

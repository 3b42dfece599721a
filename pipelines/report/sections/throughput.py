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
        cards.append((f"{record['images_per_core_second']:,.1f}", "images a core-second", "of the machine's cores"))
    if record.get("peak_memory_mb"):
        cards.append((f"{record['peak_memory_mb']:,.0f} MB", "peak memory", "of one process"))
    if record.get("estimated_cost") is not None:
        cards.append((f"{record['estimated_cost']:.2g}", "cost", "by the price of a core's hour"))
    stages = record.get("stage_seconds") or {}
    total = sum(stages.values())
    rows = [
        [name, (f"{seconds:.1f} s", seconds), (f"{seconds / total:.0%}" if total else "–", seconds)]
        for name, seconds in sorted(stages.items(), key=lambda item: -item[1])
    ]
    data = {"cards": cards, "rows": rows}
    return Section(id="throughput", title="How fast it was", short="Speed", template="throughput", data=data)

"""``--dry-run``: the plan, with minutes and cost estimated from a timed sample; writes nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from pipelines import runner
from pipelines.graphs import EmbedGraph
from pipelines.moved import MOST_READ, find_moves
from pipelines.progress import duration
from pipelines.sampling import time_sample
from transforms.list_images import ListImages
from transforms.measures.remarks import plural
from transforms.shards.plan import PlannedShard
from transforms.store.table import FeatureTable

COUNTS = ("listed", "new", "changed", "moved", "relabelled", "augmented", "reused", "removed")


def print_plan(graph: EmbedGraph, price_per_core_hour: float | None, as_json: bool, beam_args: Sequence[str]) -> None:
    """Prints what an embed run would do."""
    plan = _plan(graph, beam_args)
    todo = sum(plan[name] for name in ("new", "changed", "moved", "relabelled", "augmented"))
    if todo:
        sample = time_sample(graph.sources, graph.embed)
        rate = sample.images_per_second
        plan["sampled_images_per_second"] = round(rate, 1)
        plan["estimated_seconds"] = round(todo / rate, 3)
        if price_per_core_hour is not None:
            plan["estimated_cost"] = round(todo / rate / 3600 * sample.cores * price_per_core_hour, 6)
    print(json.dumps(plan, indent=2) if as_json else _for_a_person(plan))


def _plan(graph: EmbedGraph, beam_args: Sequence[str]) -> dict[str, Any]:
    """Runs list and plan, which come back through files of this machine; looks which of the new are known ones."""
    with tempfile.TemporaryDirectory() as directory:
        step = graph.plan(f"{directory}/plan")

        def build(pipeline: beam.Pipeline) -> None:
            planned = pipeline | beam.Create(list(graph.sources)) | ListImages() | step
            for name, collection in zip(("shards", "counts", "gone"), planned, strict=True):
                lines = collection | f"ToJson-{name}" >> beam.Map(json.dumps)
                write = beam.io.WriteToText(f"{directory}/{name}", num_shards=1, shard_name_template="")
                _ = lines | f"Write-{name}" >> write

        def read(name: str) -> list[Any]:
            with open(f"{directory}/{name}") as file:
                return list(map(json.loads, file))

        # Workers elsewhere could not bring the files back.
        runner.run_pipeline(build, beam_args if runner.works_here(runner.check_runner(beam_args)) else ())
        counts, shards = dict(read("counts")), [PlannedShard(*shard) for shard in read("shards")]
        plan: dict[str, Any] = {name: counts.get(name, 0) for name in COUNTS}
        if graph.embed.version is not None:
            table = FeatureTable.open(graph.embed.table, graph.embed.version)
            gone = [address for address, _ in read("gone")]
            moves = find_moves(table, shards, gone, step.scopes, graph.embed.roots, f"{directory}/contents")
            plan["moved"] = moves.moved if moves.read < MOST_READ else round(moves.moved / moves.read * plan["new"])
            plan["new"] -= plan["moved"]
        return {**plan, "shards": len(shards), "table": graph.embed.table}


def _for_a_person(plan: dict[str, Any]) -> str:
    augmented = f"{plan['augmented']:,} whose views differ, " if plan["augmented"] else ""
    lines = [
        f"{plural(plan['listed'], 'image')} listed: {plan['new']:,} new, {plan['changed']:,} changed, "
        f"{plan['moved']:,} moved, {plan['relabelled']:,} relabelled, {augmented}{plan['reused']:,} reused; "
        f"{plan['removed']:,} removed since",
        f"{plural(plan['shards'], 'shard')} into {plan['table']}",
    ]
    if "estimated_seconds" in plan:
        estimate = f"about {duration(plan['estimated_seconds'])} at {plan['sampled_images_per_second']:,.0f} images/s"
        cost = f", cost about {plan['estimated_cost']:.2g}" if "estimated_cost" in plan else ""
        lines.append(f"{estimate} (timed on a sample){cost}")
    else:
        lines.append("nothing to embed")
    lines.append("dry run: nothing was written")
    return "\n".join(lines)

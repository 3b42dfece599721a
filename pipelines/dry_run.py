"""``--dry-run``: the plan, with minutes and cost estimated from a timed sample; writes nothing."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import apache_beam as beam

from pipelines import runner
from pipelines.graphs import EmbedGraph
from pipelines.progress import duration
from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder
from transforms.list_images import ListImages
from transforms.shards.embedder import EmbedOptions
from transforms.shards.lanes import Lane, usable_cores
from transforms.sources.dialects import Source

SAMPLE_IMAGES = 64


def print_plan(graph: EmbedGraph, price_per_core_hour: float | None, as_json: bool, beam_args: Sequence[str]) -> None:
    """Prints what an embed run would do."""
    counts = _count(graph, beam_args)
    todo = sum(counts.get(name, 0) for name in ("new", "changed", "relabelled"))
    plan: dict[str, Any] = {
        name: counts.get(name, 0) for name in ("listed", "new", "changed", "relabelled", "reused", "removed")
    }
    plan["shards"] = math.ceil(todo / graph.shard_size)
    plan["table"] = graph.embed.table
    if todo:
        rate = sample_rate(graph.sources, graph.embed)
        plan["sampled_images_per_second"] = round(rate, 1)
        plan["estimated_seconds"] = round(todo / rate, 3)
        if price_per_core_hour is not None:
            plan["estimated_cost"] = round(todo / rate / 3600 * usable_cores() * price_per_core_hour, 6)
    print(json.dumps(plan, indent=2) if as_json else _for_a_person(plan))


def sample_rate(sources: Sequence[Source], embed: EmbedOptions) -> float:
    """Returns images a second on this machine, from the first images of the sources."""
    encoder = load_encoder(embed.specification, trust_model=embed.trust_model)
    encoder.encode(golden_images(embed.specification))
    lane = Lane(
        encoder=encoder,
        preprocessing=embed.specification.preprocessing,
        roots=embed.roots,
        batch_size=embed.batch_size,
        threads=embed.threads or usable_cores(),
    )
    sample = list(islice((ref for source in sources for ref in source.list_images()), SAMPLE_IMAGES))
    started = time.perf_counter()
    for _ in lane.run(sample):
        pass
    lane.close()
    return len(sample) / (time.perf_counter() - started)


def _count(graph: EmbedGraph, beam_args: Sequence[str]) -> dict[str, int]:
    """Runs list and plan; the counts come back through a file of this machine."""
    with tempfile.TemporaryDirectory() as directory:

        def build(pipeline: beam.Pipeline) -> None:
            _, planned, _ = pipeline | beam.Create(list(graph.sources)) | ListImages() | graph.plan(f"{directory}/plan")
            lines = planned | "ToJson" >> beam.Map(json.dumps)
            _ = lines | beam.io.WriteToText(f"{directory}/counts", num_shards=1, shard_name_template="")

        runner.run_pipeline(build, beam_args)
        with open(f"{directory}/counts") as file:
            return dict(map(json.loads, file))


def _for_a_person(plan: dict[str, Any]) -> str:
    lines = [
        f"{plan['listed']:,} images listed: {plan['new']:,} new, {plan['changed']:,} changed, "
        f"{plan['relabelled']:,} relabelled, {plan['reused']:,} reused; {plan['removed']:,} removed since",
        f"{plan['shards']:,} shards into {plan['table']}",
    ]
    if "estimated_seconds" in plan:
        estimate = f"about {duration(plan['estimated_seconds'])} at {plan['sampled_images_per_second']:,.0f} images/s"
        cost = f", cost about {plan['estimated_cost']:.2g}" if "estimated_cost" in plan else ""
        lines.append(f"{estimate} (timed on a sample){cost}")
    else:
        lines.append("nothing to embed")
    lines.append("dry run: nothing was written")
    return "\n".join(lines)

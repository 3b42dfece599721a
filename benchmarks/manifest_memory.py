"""How much memory a manifest of many rows takes: to list it, and to plan it with the in-process runner or another.

python -m benchmarks.manifest_memory --rows 10000000 [--plan [Beam's flags]]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam

from pipelines import runner
from transforms.list_images import ListImages
from transforms.plan_shards import PlanShards, images_of
from transforms.shards.record import peak_memory_mb
from transforms.sources.dialects import Source, recognise


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--plan", action="store_true", help="plan the shards too")
    flags, beam_args = parser.parse_known_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        sources = recognise(str(write_manifest(Path(directory) / "manifest.csv", flags.rows)))
        before, started = peak_memory_mb(), time.perf_counter()
        images = (
            plan(sources, Path(directory), beam_args)
            if flags.plan
            else sum(1 for s in sources for _ in s.list_images())
        )
        seconds = time.perf_counter() - started
    figures = {"images": images, "seconds": round(seconds, 1), "before_mb": before, "peak_mb": peak_memory_mb()}
    print(json.dumps({"what": "plan" if flags.plan else "list", **figures}))
    return 0


def write_manifest(path: Path, rows: int) -> Path:
    """Writes a CSV with a label and an attribute."""
    with path.open("w") as file:
        file.write("uri,label,camera\n")
        file.writelines(f"photos/{n % 1000:03d}/{n:09d}.jpg,class{n % 100},K{n % 7}\n" for n in range(rows))
    return path


def plan(sources: Sequence[Source], directory: Path, beam_args: Sequence[str]) -> int:
    """Runs list and plan; returns the number of images in the shards."""

    def build(pipeline: beam.Pipeline) -> None:
        plan = PlanShards(purpose="benchmark", directory=f"{directory}/plan")
        shards, *_ = pipeline | beam.Create(list(sources)) | ListImages() | plan
        total = shards | beam.Map(images_of) | beam.CombineGlobally(sum) | beam.Map(str)
        _ = total | beam.io.WriteToText(f"{directory}/total", num_shards=1, shard_name_template="")

    runner.run_pipeline(build, beam_args)
    return int((directory / "total").read_text())


if __name__ == "__main__":
    sys.exit(main())

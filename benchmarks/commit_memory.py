"""How long a commit of many parts takes, how much memory, and how large the log becomes; no vector is computed.

    python -m benchmarks.commit_memory --parts 10000 [--again] [Beam's flags]

One part of 1,000 rows is written; all others are hard links to it, so that no disk is filled. Their descriptions go
through the step that publishes, as after a run of a thousand times as many images. ``--again`` does so twice.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np

from pipelines import runner
from transforms.commit_parts import CommitOptions, CommitParts, commit_features
from transforms.encoders.resolve import resolve_encoder
from transforms.shards.embedder import EmbedOptions, _FeatureSink
from transforms.shards.outcome import EncodedImage
from transforms.shards.record import peak_memory_mb
from transforms.shards.shard import ShardResult
from transforms.shards.workspace import Workspace
from transforms.sources.reference import ImageReference
from transforms.sources.split import SplitRatios
from transforms.store.table import FeatureTable

ROWS = 1_000
LINKS = 50_000
"""Of one file: file systems end at some 65,000."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line of JSON a commit."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--parts", type=int, default=10_000)
    parser.add_argument("--again", action="store_true", help="a second run into the same table")
    flags, beam_args = parser.parse_known_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        for run_id in ("first", "second") if flags.again else ("first",):
            print(json.dumps(commit(directory, run_id, flags.parts, beam_args)), flush=True)
    return 0


def commit(root: str, run_id: str, parts: int, beam_args: Sequence[str]) -> dict[str, float | int | str]:
    """Lays the parts down and publishes them; returns what that took."""
    specification = dataclasses.replace(resolve_encoder(), engine="litert")
    embed = EmbedOptions(
        table=f"{root}/{specification.table_name}",
        version=None if run_id == "first" else FeatureTable.open(f"{root}/{specification.table_name}").version,
        specification=specification,
        run_id=run_id,
        roots=(),
        split=SplitRatios.parse("80/10/10"),
    )
    size = lay_down(embed, parts)
    options = CommitOptions(run_id=run_id, started_at=time.time(), max_failures="0", configuration={})
    publish = functools.partial(commit_features, embed=embed, options=options)
    before = peak_memory_mb()

    def build(pipeline: beam.Pipeline) -> None:
        results = pipeline | beam.Create([None]) | beam.FlatMap(_results, parts, size, run_id) | beam.Reshuffle()
        planned = pipeline | "Planned" >> beam.Create([("listed", parts * ROWS)])
        gone = pipeline | "Gone" >> beam.Create([], reshuffle=False)
        _ = (results, planned, gone) | CommitParts(publish=publish, plan_directory=f"{root}/plan")

    started = time.perf_counter()
    runner.run_pipeline(build, beam_args)
    seconds = time.perf_counter() - started
    log = sum(path.stat().st_size for path in Path(embed.table, "_delta_log").rglob("*") if path.is_file())
    return {
        "what": f"commit of {run_id} run",
        "parts": parts,
        "images": parts * ROWS,
        "seconds": round(seconds, 1),
        "before_mb": before,
        "peak_mb": peak_memory_mb(),
        "log_bytes_a_part": round(log / parts),
        "result_bytes_a_shard": len(_result(0, size, run_id).to_json()),
        "part_bytes_a_row": round(size / ROWS),
    }


def lay_down(embed: EmbedOptions, parts: int) -> int:
    """Writes a part for each 50,000, links the others and makes the markers; returns the size of a part in bytes."""
    vectors = np.random.default_rng(0).random((ROWS, embed.specification.dimension), np.float32)
    batch = [
        EncodedImage(
            reference=ImageReference(
                uri=f"gs://bucket/photos/{n:09d}.jpg", fingerprint="55000-1760000000", labels=("a",)
            ),
            sha256=f"{n:064x}",
            width=500,
            height=375,
            format="JPEG",
            byte_size=55_000,
            vector=vectors[n],
        )
        for n in range(ROWS)
    ]
    shards = Path(Workspace(root=embed.table).path("shards"))
    shards.mkdir(parents=True, exist_ok=True)
    for first in range(0, parts, LINKS):
        sink = _FeatureSink(embed, _name(first, embed.run_id))
        with sink:
            sink.write(batch)
        source = Path(embed.table, sink.files()["data"])
        for number in range(first, min(first + LINKS, parts)):
            if number > first:
                os.link(source, source.with_name(f"part-{_name(number, embed.run_id)}.parquet"))
            (shards / f"{_name(number, embed.run_id)}.json").touch()
    return source.stat().st_size


def _name(number: int, run_id: str) -> str:
    return f"{number + (run_id != 'first') * 10**9:024x}"


def _result(number: int, size: int, run_id: str) -> ShardResult:
    return ShardResult(
        name=_name(number, run_id),
        run_id=run_id,
        files={"data": f"data/part-{_name(number, run_id)}.parquet"},
        rows=ROWS,
        sizes={"data": size},
        encoded=ROWS,
        copied=0,
        failures={},
        failure_example="",
        classes={f"class{n}": ROWS // 10 for n in range(10)},
        replaced=0,
        stage_seconds={"read": 1.0, "decode": 3.5, "encode": 7.0, "write": 0.1},
        peak_memory_mb=400.0,
        core_seconds=11.0,
    )


def _results(_: None, parts: int, size: int, run_id: str) -> Iterator[str]:
    return (_result(number, size, run_id).to_json() for number in range(parts))


if __name__ == "__main__":
    sys.exit(main())

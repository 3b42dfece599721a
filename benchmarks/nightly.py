"""What a nightly run costs: 100,000 known images with 1 % new ones, against embedding all of them.

    python -m benchmarks.nightly [--images 100000] [--sample 2500]

Photographs are drawn, small and each of its own content. The full run is extrapolated from two that are measured, of a
fifth of the sample and of all of it, with the default encoder. The known images' rows are then filled in with vectors
of chance; the nightly run over all of them, and its listing alone, are measured. The goal: (nightly − listing) ≤ 3 %.
Where other work disturbs the measurement, the last ratio is the one to trust: it takes the network's seconds from the
nightly run itself, and counts nothing but these for the full one.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transforms.sources.dialects import Source, recognise
from transforms.sources.reference import ImageReference
from transforms.sources.split import SplitRatios
from transforms.store.catalog import open_table
from transforms.store.table import FeatureTable
from transforms.store.write import PartWriter

NEW_SHARE = 0.01
DRAWN = 200
PART_ROWS = 10_000


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the seconds of each run and the ratio, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=2_500)
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(Path(directory), flags.images, flags.sample)
    print(json.dumps(figures, indent=2))
    return 0


def measure(directory: Path, images: int, sample: int) -> dict[str, Any]:
    """Returns seconds, and the nightly run's share of the full one."""
    photos, store = directory / "photos", directory / "store"
    draw_photographs(photos, range(images))
    known = list(recognise(str(photos))[0].list_images())
    few = embed(manifest(directory / "few.csv", known[: sample // 5]), directory / "few")
    more = embed(manifest(directory / "more.csv", known[:sample]), store)
    an_image = (more["wall"] - few["wall"]) / (sample - sample // 5)
    full = few["wall"] + an_image * (images - sample // 5)
    fill(open_table(str(store)), known)
    draw_photographs(photos, range(images, images + round(images * NEW_SHARE)))
    first = embed(photos, store)
    draw_photographs(photos, range(images * 2, images * 2 + round(images * NEW_SHARE)))
    listing = list_seconds(recognise(str(photos)))
    night = embed(photos, store)
    stages = night["record"]["stage_seconds"]
    own = stages["encode"] / round(images * NEW_SHARE) * images
    return {
        "images": images,
        "new": night["record"]["plan"]["new"],
        "reused": night["record"]["reused"],
        "full_run_seconds_extrapolated": round(full, 1),
        "listing_seconds": round(listing, 2),
        "nightly_seconds": [round(first["wall"], 2), round(night["wall"], 2)],
        "nightly_peak_memory_mb": night["record"]["peak_memory_mb"],
        "nightly_stage_seconds": stages,
        "nightly_without_listing_to_full_run": round((night["wall"] - listing) / full, 4),
        "nightly_without_listing_to_encoding_all_at_its_own_rate": round((night["wall"] - listing) / own, 4),
    }


def draw_photographs(root: Path, numbers: range) -> None:
    """Writes small JPEGs, a hundred directories of them; bytes after a JPEG's end make another content of it."""
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWN):
        coarse = Image.fromarray(random.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize((160, 120), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=85)
        drawn.append(stream.getvalue())
    for number in numbers:
        path = root / f"label{number % 100:02d}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn[number % DRAWN] + number.to_bytes(4, "big"))


def manifest(path: Path, references: Sequence[ImageReference]) -> Path:
    """Writes a manifest of some images."""
    path.write_text("uri,label\n" + "".join(f"{one.uri},{one.labels[0]}\n" for one in references))
    return path


def fill(table: FeatureTable, known: Sequence[ImageReference]) -> None:
    """Gives every known image a row, as if it had been embedded; the sample's rows are replaced."""
    parts, random, now = [], np.random.default_rng(0), datetime.datetime.now(datetime.UTC)
    splits = SplitRatios.parse("80/10/10")
    for number, some in enumerate(_slices(known, PART_ROWS)):
        with PartWriter(table.path, f"data/part-fill-{number}.parquet", table.schema, table.file_metadata) as writer:
            for rows in _slices(some, 1024):
                data = [Path(row.uri).read_bytes() for row in rows]
                sha256 = [hashlib.sha256(one).hexdigest() for one in data]
                constant = {"event_timestamp": now, "created": now, "view_id": 0, "width": 160, "height": 120}
                constant |= {"format": "JPEG", "run_id": "fill"}
                writer.write(
                    {
                        **{name: [value] * len(rows) for name, value in constant.items()},
                        "image_id": [row.image_id for row in rows],
                        "image_uri": [row.uri for row in rows],
                        "sha256": sha256,
                        "split": [splits.assign(digest) for digest in sha256],
                        "labels": [list(row.labels) for row in rows],
                        "group": [row.group for row in rows],
                        "byte_size": [len(one) for one in data],
                        "attributes": [list(row.attributes) for row in rows],
                        "source_fingerprint": [row.fingerprint for row in rows],
                        "embedding": random.random((len(rows), table.specification.dimension), dtype=np.float32),
                    }
                )
        parts.append(writer.part)
    table.append("fill", parts)


def _slices(references: Sequence[ImageReference], size: int) -> Iterator[Sequence[ImageReference]]:
    return (references[start : start + size] for start in range(0, len(references), size))


def list_seconds(sources: Sequence[Source]) -> float:
    """Returns how long the listing alone takes."""
    started = time.perf_counter()
    for source in sources:
        for _ in source.list_images():
            pass
    return time.perf_counter() - started


def embed(photos: Path, store: Path) -> dict[str, Any]:
    """Runs the command; returns its run record and the seconds on the clock, start included."""
    command = [sys.executable, "-m", "pipelines.embed", "--input", str(photos), "--store", str(store), "--json"]
    if photos.suffix == ".csv":
        command += ["--input-root", str(photos.parent)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {"wall": time.perf_counter() - started, "record": json.loads(done.stdout)}


if __name__ == "__main__":
    sys.exit(main())

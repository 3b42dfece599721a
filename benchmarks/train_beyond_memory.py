"""Peak memory of a training must not grow with the store: 5 million generated vectors, 25 GB, under 3 GB.

    python benchmarks/train_beyond_memory.py [--rows N] [--directory DIR] [--memory-limit GB]

Writes a store of vectors like an encoder's (100 classes that overlap), runs `heliograph train` on it in a process
of its own, and prints its peak memory. The store is deleted at the end; the disk needs 5.2 kB a row.
"""

from __future__ import annotations

import argparse
import datetime
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.store.table import FeatureTable
from transforms.store.write import PartWriter

CLASSES, HIDDEN, BATCH, PART = 100, 64, 8192, 250_000
LABELS = [(f"class {number:02d}",) for number in range(CLASSES)]


def main() -> None:
    """Prints a line for the store and a line for the training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--directory", help="for the store; the temporary directory by default")
    parser.add_argument("--memory-limit", type=float, default=1.0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=flags.directory) as directory:
        started = time.monotonic()
        size = write_store(Path(directory) / "store", flags.rows)
        print(f"{flags.rows:,} vectors, {size / 1e9:.1f} GB, written in {time.monotonic() - started:.0f} s", flush=True)
        command = [
            sys.executable,
            "-m",
            "pipelines.train",
            "--store",
            f"{directory}/store",
            "--model",
            f"{directory}/model",
        ]
        command += ["--memory-limit", str(flags.memory_limit), "--json"]
        started = time.monotonic()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        record = json.loads(done.stdout)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
        fit, accuracy = record["metrics"]["fit"], record["metrics"]["validation"]["accuracy"]
        print(
            f"trained in {time.monotonic() - started:.0f} s, {fit['epochs']} passes, peak {peak:,.0f} MB; "
            f"validation: loss {fit['validation_loss']:.4f}, accuracy {accuracy:.3f}"
        )


def write_store(root: Path, rows: int) -> int:
    """Writes 80 % training, 10 % validation, 10 % test vectors; returns their bytes."""
    encoder = resolve_encoder()
    golden = load_encoder(encoder).encode(golden_images(encoder))
    table = FeatureTable.create(str(root / encoder.table_name), encoder, golden)
    fixed = np.random.default_rng(7)
    centres = fixed.standard_normal((CLASSES, HIDDEN), dtype=np.float32) / 2
    mix = fixed.standard_normal((HIDDEN, encoder.dimension), dtype=np.float32) / 8
    noise = fixed.standard_normal((2 * BATCH, encoder.dimension), dtype=np.float32) / 2
    now, parts, size = datetime.datetime.now(datetime.UTC), [], 0
    for first in range(0, rows, PART):
        path = f"data/part-{first}.parquet"
        with PartWriter(table.path, path, table.schema, table.file_metadata) as writer:
            for start in range(first, min(first + PART, rows), BATCH):
                count = min(BATCH, first + PART - start, rows - start)
                writer.write(columns(start, count, centres, mix, noise, now))
        parts.append(writer.part)
        size += writer.part.size
    table.append("generated", parts)
    return size


def columns(
    start: int, count: int, centres: np.ndarray, mix: np.ndarray, noise: np.ndarray, now: datetime.datetime
) -> dict[str, object]:
    """Returns a batch of rows; noise that is as large as the vectors would take as long as everything else."""
    generator = np.random.default_rng(start)
    classes = generator.integers(0, CLASSES, count)
    inner = centres[classes] + generator.standard_normal((count, HIDDEN), dtype=np.float32)
    vectors = inner @ mix
    first = generator.integers(0, len(noise) - count)
    vectors += noise[first : first + count]
    names = [f"{number:064x}" for number in range(start, start + count)]
    splits = generator.choice(["train", "validation", "test"], count, p=[0.8, 0.1, 0.1])
    return {
        "image_id": [name[32:] for name in names],
        "image_uri": [f"/generated/{name}.jpg" for name in names],
        "sha256": names,
        "event_timestamp": [now] * count,
        "created": [now] * count,
        "split": splits.tolist(),
        "labels": [LABELS[number] for number in classes.tolist()],
        "group": [""] * count,
        "view_id": [0] * count,
        "width": [224] * count,
        "height": [224] * count,
        "format": ["JPEG"] * count,
        "byte_size": [1] * count,
        "attributes": [{}] * count,
        "source_fingerprint": [""] * count,
        "run_id": ["generated"] * count,
        "embedding": np.maximum(vectors, 0, out=vectors),
    }


if __name__ == "__main__":
    main()

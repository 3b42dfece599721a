"""A table's vectors as one float32 matrix, against np.load of the same bytes: at least 0.2 of its speed.

    python benchmarks/read_store.py [--rows 100000] [--dimension 1280] [--rounds 5]

Writes a table of random vectors in parts of some thousand rows, and the same matrix as .npy. Both are read once so
that the system's cache is warm, then in turn. Prints each round and the medians.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from transforms.encoders.specification import EncoderSpecification, Preprocessing
from transforms.store import open_features
from transforms.store.table import FeatureTable
from transforms.store.write import Part, PartWriter

PART_ROWS = 10_000


def main() -> None:
    """Prints a line a round, and the medians with their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        matrix = np.random.default_rng(0).standard_normal((flags.rows, flags.dimension), dtype=np.float32)
        np.save(Path(directory) / "matrix.npy", matrix)
        write_table(Path(directory) / "store", matrix)
        ways: dict[str, Callable[[], np.ndarray]] = {
            "np.load": lambda: np.load(Path(directory) / "matrix.npy"),
            "vectors": lambda: open_features(f"{directory}/store").numpy([]).embeddings,
            "with ids, labels and splits": lambda: (
                open_features(f"{directory}/store").numpy(["image_id", "labels", "split"]).embeddings
            ),
        }
        for read in ways.values():
            assert np.array_equal(read(), matrix)
        print(f"{flags.rows:,} x {flags.dimension} float32, {matrix.nbytes / 1e6:,.0f} MB")
        del matrix
        compare(ways, flags.rounds)


def compare(ways: dict[str, Callable[[], np.ndarray]], rounds: int) -> None:
    """Runs each way once a round, in turn; prints seconds and the share of the first way's speed."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, read in ways.items():
            started = time.perf_counter()
            read()
            seconds[name].append(time.perf_counter() - started)
        print(f"round {number + 1}: " + ", ".join(f"{name} {times[-1]:.3f} s" for name, times in seconds.items()))
    base = seconds["np.load"]
    for name, times in seconds.items():
        ratio = statistics.median(b / t for b, t in zip(base, times, strict=True))
        print(f"{name}: median {statistics.median(times):.3f} s, {ratio:.2f} of the speed of np.load")


def write_table(store: Path, matrix: np.ndarray) -> None:
    """Makes a store with one table that holds the matrix row by row."""
    encoder = EncoderSpecification(
        name="random",
        source="drawn by this script",
        weights_sha256="0" * 64,
        preprocessing=Preprocessing(height=8, width=8),
        scale=(1.0, 1.0, 1.0),
        offset=(0.0, 0.0, 0.0),
        dimension=matrix.shape[1],
    )
    golden = np.zeros((1, matrix.shape[1]), np.float32)
    table = FeatureTable.create(str(store / encoder.table_name), encoder, golden)
    parts = [write_part(table, matrix[start : start + PART_ROWS], start) for start in range(0, len(matrix), PART_ROWS)]
    table.append("benchmark", parts)


def write_part(table: FeatureTable, vectors: np.ndarray, start: int) -> Part:
    """Writes a part; its name sorts by ``start``, so that the rows keep their order."""
    rows = range(start, start + len(vectors))
    now = datetime.datetime.now(datetime.UTC)
    same = {"event_timestamp": now, "created": now, "group": "", "view_id": 0, "width": 500, "height": 375}
    same |= {"format": "JPEG", "byte_size": 55_000, "attributes": (), "run_id": "benchmark"}
    with PartWriter(table.path, f"data/part-{start:09d}.parquet", table.schema, table.file_metadata) as writer:
        writer.write(
            {
                **{name: [value] * len(vectors) for name, value in same.items()},
                "image_id": [f"{row:032x}" for row in rows],
                "image_uri": [f"/photographs/{row:09d}.jpg" for row in rows],
                "sha256": [f"{row:064x}" for row in rows],
                "source_fingerprint": [f"55000-{row}" for row in rows],
                "split": [("train", "train", "test")[row % 3] for row in rows],
                "labels": [(f"label {row % 100}",) for row in rows],
                "embedding": vectors,
            }
        )
    return writer.part


if __name__ == "__main__":
    main()

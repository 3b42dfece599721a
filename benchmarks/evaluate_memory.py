"""Peak memory of evaluate must stay under 1 GB for 10 million predictions: 1 million against the number given.

    python benchmarks/evaluate_memory.py [10000000 [Beam's flags]]

Draws predictions of four classes with attributes, weights and tied scores as heliograph score writes them, and runs
`heliograph evaluate` on them in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NAMES = ("bee", "cat", "dog", "emu")
ROWS = 100_000
"""Of a row group."""

LIMIT_MB = 1024


def main() -> None:
    """Prints a line a collection."""
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    for count in sorted({min(1_000_000, asked), asked}):
        with tempfile.TemporaryDirectory() as directory:
            predictions = draw_predictions(Path(directory) / "predictions_0.parquet", count)
            record = evaluate(predictions, Path(directory) / "report", sys.argv[2:])
            peak = record["peak_memory_mb"]
            verdict = "under" if peak < LIMIT_MB else "OVER"
            print(
                f"{count:>10,} predictions: peak {peak:,.0f} MB ({verdict} {LIMIT_MB:,}), {record['seconds']:.0f} s, "
                f"{record['rows_per_second']:,.0f} rows/s",
                flush=True,
            )


def draw_predictions(path: Path, count: int) -> Path:
    """Writes ``count`` predictions, best class first, with three attributes."""
    random = np.random.default_rng(0)
    with pq.ParquetWriter(path, batch_of(random, 0, 1).schema) as writer:
        for begin in range(0, count, ROWS):
            writer.write_batch(batch_of(random, begin, min(ROWS, count - begin)))
    return path


def batch_of(random: np.random.Generator, begin: int, rows: int) -> pa.RecordBatch:
    """Returns predictions whose labels are right in about three of four rows."""
    raw = random.gumbel(size=(rows, len(NAMES)))
    actual = random.integers(0, len(NAMES), rows)
    raw[np.arange(rows), actual] += 2
    scores = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    order = np.argsort(-scores, axis=1)
    ordered = np.take_along_axis(scores, order, axis=1).astype(np.float32).round(4)
    names = np.array(NAMES, object)
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32))
    wide = pa.array(np.arange(rows + 1, dtype=np.int32) * len(NAMES))
    keys = ("camera", "country", "light")
    values = np.stack([random.integers(0, 5, rows).astype(str) for _ in keys], axis=1)
    ids = [f"{begin + index:032x}" for index in range(rows)]
    three = pa.array(np.arange(rows + 1, dtype=np.int32) * len(keys))
    columns = {
        "image_id": pa.array(ids),
        "image_uri": pa.array([f"/images/{name}.jpg" for name in ids]),
        "displayNames": pa.ListArray.from_arrays(wide, pa.array(names[order].ravel(), pa.string())),
        "confidences": pa.ListArray.from_arrays(wide, pa.array(ordered.ravel())),
        "labels": pa.ListArray.from_arrays(offsets, pa.array(names[actual], pa.string())),
        "attributes": pa.MapArray.from_arrays(three, pa.array(keys * rows), pa.array(values.ravel().tolist())),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def evaluate(predictions: Path, report: Path, beam_args: Sequence[str] = ()) -> dict[str, float]:
    """Runs the command; returns its run record."""
    flags = ["--predictions", str(predictions), "--output", str(report), "--thumbnails", "0", "--json"]
    command = [sys.executable, "-m", "pipelines.evaluate", *flags, *beam_args]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    record: dict[str, float] = json.loads(done.stdout)
    return record


if __name__ == "__main__":
    main()

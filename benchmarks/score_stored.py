"""Scoring stored features: ``heliograph score --store`` of a table of 100,000 rows, no pixels read.

    python -m benchmarks.score_stored [--rows 100000]

A few photographs are embedded and a head is fitted on them; then rows of vectors of chance are added, and all are
scored. Prints one line of JSON: rows a second of the run's own record, and the seconds of the command with its start.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import photographs, processes
from benchmarks.read_store import PART_ROWS, write_part
from transforms.store.catalog import open_table


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(Path(directory), flags.rows)))
    return 0


def measure(directory: Path, rows: int) -> dict[str, Any]:
    """Returns rows, seconds and rows a second."""
    for number, label in enumerate(("a", "b")):
        drawn = photographs.write(directory / "photos" / label, photographs.SMALL, 40, 40)
        for path in drawn.iterdir():
            path.write_bytes(path.read_bytes() + bytes([number]))
    store, model = str(directory / "store"), str(directory / "model")
    _run("embed", "--input", str(directory / "photos"), "--store", store, "--no-report")
    _run("train", "--store", store, "--model", model)
    table = open_table(store)
    random = np.random.default_rng(0)
    parts = []
    for start in range(0, rows, PART_ROWS):
        vectors = random.random((min(PART_ROWS, rows - start), table.specification.dimension), dtype=np.float32)
        parts.append(write_part(table, vectors, start))
    table.append("benchmark", parts)
    measured = _run("score", "--store", store, "--model", model, "--output", str(directory / "scores"))
    record = json.loads(measured.output)
    return {
        "rows": record["scored"],
        "seconds": record["seconds"],
        "seconds_with_start": round(measured.seconds, 2),
        "rows_per_second": record["images_per_second"],
        "peak_mb": round(measured.peak_mb),
    }


def _run(*words: str) -> processes.Measured:
    return processes.run([*processes.heliograph(*words), "--json"])


if __name__ == "__main__":
    raise SystemExit(main())

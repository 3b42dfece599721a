"""What a sweep costs: `--sweep` over stored features, on the solar cells of ELPV when they are installed.

    python -m benchmarks.sweep [--store STORE] [--search random] [--configurations 50] [--folds 5]

Without a store the photographs of the package elpv-dataset are embedded first, which is not measured; without the
package 2,624 vectors of 1,280 numbers in two classes are generated. Printed are configurations, folds, wall and
processor seconds, and what was found.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.compare_training import call, write_cells
from benchmarks.leak_check import generate
from pipelines.training.features import Splits, read_splits, split_features
from pipelines.training.fit_settings import FitSettings
from pipelines.training.sweep import run_sweep
from pipelines.training.sweep_settings import GRID, RANDOM, SweepSettings
from transforms.encoders.tensorflow_runtime import import_tensorflow
from transforms.store.catalog import open_table
from transforms.store.read import Features


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="that `heliograph embed` made")
    parser.add_argument("--search", choices=(GRID, RANDOM), default=RANDOM)
    parser.add_argument("--configurations", type=int, default=50, help="of a random search")
    parser.add_argument("--folds", type=int, default=5, help="0: the validation split")
    flags = parser.parse_args(argv)
    splits = _splits(flags.store)
    import_tensorflow()
    started = time.perf_counter(), time.process_time()
    found = run_sweep(
        splits,
        splits.validation.known(len(splits.labels)),
        FitSettings(),
        SweepSettings(search=flags.search, configurations=flags.configurations, folds=flags.folds),
    )
    seconds = {"seconds": round(time.perf_counter() - started[0], 1), "cpu": round(time.process_time() - started[1], 1)}
    said = found.to_json()
    rows = {"rows": len(splits.train.targets), "dimension": splits.train.vectors.shape[1]}
    print(
        json.dumps({**rows, **{name: said[name] for name in ("configurations", "folds", "best", "chosen")}, **seconds})
    )
    return 0


def _splits(store: str | None) -> Splits:
    if store is not None:
        return read_splits(open_table(store))
    if importlib.util.find_spec("elpv_dataset") is None:
        return _generated()
    with tempfile.TemporaryDirectory() as directory:
        call(["embed", *write_cells(Path(directory)), "--store", f"{directory}/store"])
        return read_splits(open_table(f"{directory}/store"))


def _generated(rows: int = 2624, dimension: int = 1280) -> Splits:
    vectors = generate(rows, dimension, seed=1)
    kinds = np.random.default_rng(2).normal(size=dimension) / 20
    chances = 1 / (1 + np.exp(-(vectors - vectors.mean(axis=0)) @ kinds))
    names = np.where(np.random.default_rng(3).random(rows) < chances, "defective", "functional")
    parts = np.split(np.arange(rows), [int(0.68 * rows), int(0.8 * rows)])
    columns = {
        split: Features(
            embeddings=vectors[part],
            image_ids=[str(row) for row in part],
            image_uris=[str(row) for row in part],
            sha256=[str(row) for row in part],
            labels=[(str(names[row]),) for row in part],
            groups=[""] * len(part),
        )
        for split, part in zip(("train", "validation", "test"), parts, strict=True)
    }
    return split_features(columns, "generated vectors")


if __name__ == "__main__":
    raise SystemExit(main())

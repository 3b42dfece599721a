"""What looking for duplicates across splits costs: seconds and memory, on generated vectors.

python -m benchmarks.leak_check --train 80000 --held-out 20000 --dimension 1280
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np

from pipelines.training.leaks import DEFAULT_THRESHOLD
from pipelines.training.near_duplicates import Space, nearest_above
from transforms.shards.record import peak_memory_mb

_CLASSES, _DIRECTIONS = 100, 200
_PLANTED = 50


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--train", type=int, default=80_000)
    parser.add_argument("--held-out", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=1280)
    parser.add_argument("--threshold", type=float, default=DEFAULT_THRESHOLD)
    flags = parser.parse_args(argv)
    train = generate(flags.train, flags.dimension, seed=1)
    held_out = generate(flags.held_out, flags.dimension, seed=2)
    held_out[:_PLANTED] = train[:_PLANTED] * np.float32(1.01)
    before, started = peak_memory_mb(), (time.perf_counter(), time.process_time())
    nearest, _ = nearest_above(Space.of(train), held_out, train, flags.threshold)
    seconds = {"seconds": round(time.perf_counter() - started[0], 2), "cpu": round(time.process_time() - started[1], 2)}
    found = {"found": int((nearest >= 0).sum()), "planted": _PLANTED}
    print(json.dumps({**found, **seconds, "before_mb": before, "peak_mb": peak_memory_mb()}))
    return 0


def generate(count: int, dimension: int, seed: int) -> np.ndarray:
    """Vectors as of a network that ends in a ReLU: classes, some hundred directions that vary, and noise."""
    shared, generator = np.random.default_rng(0), np.random.default_rng(seed)
    classes = shared.normal(size=(_CLASSES, dimension)).astype(np.float32)
    directions = shared.normal(size=(_DIRECTIONS, dimension)).astype(np.float32)
    directions *= np.logspace(-0.5, -2, _DIRECTIONS, dtype=np.float32)[:, None]
    vectors = np.empty((count, dimension), np.float32)
    for start in range(0, count, 8192):
        rows = vectors[start : start + 8192]
        rows[:] = classes[generator.integers(0, _CLASSES, len(rows))]
        rows += generator.normal(size=(len(rows), _DIRECTIONS)).astype(np.float32) @ directions
        rows += 0.3 * generator.normal(size=rows.shape).astype(np.float32)
    return np.maximum(vectors, 0, out=vectors)


if __name__ == "__main__":
    raise SystemExit(main())

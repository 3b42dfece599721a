"""Time and memory at 1,000, 10,000 and 100,000 images: straight lines, of ``heliograph embed`` with a small encoder.

    python -m benchmarks.growth [--counts 1000 10000 100000] [--encoder default]

The encoder averages 32×32 pixels into 64 numbers, so that what grows is the pipeline: listing, planning, reading,
decoding, writing and committing. With ``--encoder default`` it is the default one, at a tenth of the speed. The
pictures are JPEGs of 160×120, each file with bytes of its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import jobs, photographs
from transforms.encoders.resolve import DEFAULT

COUNTS = (1_000, 10_000, 100_000)
SIZE = photographs.Size(160, 120)
DRAWN = 200


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line of JSON for each count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--encoder", default="small", choices=("small", "default"))
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        encoder = DEFAULT if flags.encoder == "default" else str(save_small_encoder(Path(directory)))
        for row in measure(Path(directory), flags.counts, encoder):
            print(json.dumps(row))
    return 0


def measure(directory: Path, counts: Sequence[int], encoder: str) -> list[dict[str, Any]]:
    """Returns a row a count: seconds, those of the command's own record, and memory."""
    photos = photographs.write(directory / "growth", SIZE, max(counts), DRAWN)
    jobs.embed(photographs.part(photos, DRAWN), directory / "warm", ["--encoder", encoder])
    rows = []
    for count in counts:
        some = photos if count == max(counts) else photographs.part(photos, count)
        measured = jobs.embed(some, directory / f"store-{count}", ["--encoder", encoder])
        record = json.loads(measured.output)
        rows.append(
            {
                "images": record["embedded"],
                "seconds": round(measured.seconds, 2),
                "peak_mb": round(measured.peak_mb),
                "peak_resident_mb": record["peak_memory_mb"],
                "stage_seconds": record["stage_seconds"],
            }
        )
    return rows


def save_small_encoder(directory: Path) -> Path:
    """Writes a Keras model that takes no time: the means of 49 fields, and their products with 64 fixed vectors."""
    from transforms.encoders.tensorflow_runtime import import_keras

    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Rescaling(1 / 255),
            layers.AveragePooling2D(4),
            layers.Flatten(),
            layers.Dense(64),
        ]
    )
    path = directory / "small.keras"
    model.save(path)
    return path


if __name__ == "__main__":
    raise SystemExit(main())

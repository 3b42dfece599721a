"""Peak memory of an embed run must not grow with the number of images: 2,000 against 20,000.

    python benchmarks/memory.py

Draws photographs of 500×375 once, repeats them under other names (each with its own bytes, so that nothing is
reused), and runs `heliograph embed` on both collections, each in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

COUNTS = (2_000, 20_000)
DRAWN = 200


def main() -> None:
    """Prints a line a collection, and the ratio."""
    peaks = []
    with tempfile.TemporaryDirectory() as directory:
        for count in COUNTS:
            photos = draw_photographs(Path(directory) / f"photos-{count}", count)
            record = embed(photos, Path(directory) / f"store-{count}")
            peaks.append(record["peak_memory_mb"])
            print(
                f"{count:>7,} images: peak {record['peak_memory_mb']:,.0f} MB, "
                f"{record['seconds']:.0f} s, {record['images_per_second']:.0f} images/s",
                flush=True,
            )
    print(f"ratio of the peaks: {peaks[-1] / peaks[0]:.3f}")


def draw_photographs(root: Path, count: int) -> Path:
    """Writes JPEGs of about 55 kB: smooth shapes under film grain, like a photograph's entropy."""
    root.mkdir()
    random = np.random.default_rng(0)
    files = []
    for number in range(min(count, DRAWN)):
        coarse = random.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC), np.int16)
        grain = random.normal(0, 11, smooth.shape)
        path = root / f"{number:06d}.jpg"
        Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(path, quality=85)
        files.append(path.read_bytes())
    for number in range(len(files), count):
        # Bytes after a JPEG's end are no picture, but make another file of it.
        (root / f"{number:06d}.jpg").write_bytes(files[number % len(files)] + number.to_bytes(4, "big"))
    return root


def embed(photos: Path, store: Path) -> dict[str, float]:
    """Runs the command; returns its run record."""
    command = [sys.executable, "-m", "pipelines.embed", "--input", str(photos), "--store", str(store), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    record: dict[str, float] = json.loads(done.stdout)
    return record


if __name__ == "__main__":
    main()

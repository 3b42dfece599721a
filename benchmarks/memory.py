"""Peak memory of an embed run must not grow with the number of images: 2,000 against 20,000.

    python -m benchmarks.memory

Draws photographs of 500×375 once, repeats them under other names (each with its own bytes, so that nothing is
reused), and runs `heliograph embed` with the default encoder on both collections, each in a process of its own.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks import jobs, photographs

COUNTS = (2_000, 20_000)
DRAWN = 200


def main() -> None:
    """Prints a line a collection, and the ratio."""
    peaks = []
    with tempfile.TemporaryDirectory() as directory:
        for count in COUNTS:
            photos = photographs.write(Path(directory) / f"photos-{count}", photographs.SMALL, count, DRAWN)
            record = json.loads(jobs.embed(photos, Path(directory) / f"store-{count}").output)
            peaks.append(record["peak_memory_mb"])
            print(
                f"{count:>7,} images: peak {record['peak_memory_mb']:,.0f} MB, "
                f"{record['seconds']:.0f} s, {record['images_per_second']:.0f} images/s",
                flush=True,
            )
    print(f"ratio of the peaks: {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()

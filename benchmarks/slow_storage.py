"""A store that answers after 50 ms: what of the throughput is left, by reading ahead.

    python -m benchmarks.slow_storage [--latency-ms 50] [--images 2000]

Draws photographs of 500×375, and embeds them with the default encoder through the lanes of `heliograph embed`, from
the disk and with a pause before each file, by turns, three rounds. Prints images a second, their ratio (goal: at least
0.9), and for comparison what one read at a time in each decoding thread would reach at best.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import photographs
from transforms.encoders.encoder import Encoder
from transforms.encoders.engines import choose_engine
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.machine.cores import usable_cores
from transforms.shards import readahead
from transforms.shards.lanes import Lane
from transforms.shards.work import ways_to_work
from transforms.sources.folder import list_folder
from transforms.sources.reference import ImageReference

ROUNDS = 3
DRAWN = 50


def images_per_second(encoder: Encoder, references: Sequence[ImageReference], root: str) -> float:
    """Runs a lane over the images."""
    preprocessing = encoder.specification.preprocessing
    ways = ways_to_work(0, 0, usable_cores(), preprocessing, encoder)
    lane = Lane(encoder=encoder, preprocessing=preprocessing, roots=[root], ways=ways)
    started = time.perf_counter()
    done = sum(len(batch) for batch in lane.run(references) if isinstance(batch, list))
    seconds = time.perf_counter() - started
    lane.close()
    return done / seconds


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--images", type=int, default=2000)
    flags = parser.parse_args()
    pause, fast = flags.latency_ms / 1000, readahead.read_image

    def slow(uri: str, roots: Sequence[str], max_bytes: int) -> bytes:
        time.sleep(pause)
        return fast(uri, roots, max_bytes)

    encoder = load_encoder(choose_engine(resolve_encoder()).specification)
    with tempfile.TemporaryDirectory() as directory:
        photographs.write(Path(directory), photographs.SMALL, flags.images, DRAWN)
        references = list(list_folder(directory))
        ratios = []
        for number in range(ROUNDS):
            rates = []
            for read in (fast, slow):
                readahead.read_image = read
                rates.append(images_per_second(encoder, references, directory))
            ratios.append(rates[1] / rates[0])
            print(
                f"round {number}: {rates[0]:.0f} images/s from disk, {rates[1]:.0f} with {flags.latency_ms:g} ms a file"
            )
    print(f"ratio: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); ", end="")
    print(f"one read at a time in each of {usable_cores()} threads: at most {usable_cores() / pause:.0f} images/s")


if __name__ == "__main__":
    main()

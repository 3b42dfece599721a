"""What the peers share: their command line, the converted network, pixels, and the marks that tell their speed.

Each peer is run in an environment of its own, `python -m benchmarks.peers.NAME --images DIR --output DIR --marks DIR`,
with one of two networks: `--keras FILE`, the encoder as a Keras model that takes pixels of 0 to 255, or
`--litert FILE`, the converted network that heliograph runs. It writes Parquet with the columns ``path``, ``embedding``.
"""

from __future__ import annotations

import argparse
import os
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SIZE = 224
DIMENSION = 1280
Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]


def main(recommended: Callable[[argparse.Namespace], None], same_network: Callable[[argparse.Namespace], None]) -> None:
    """Runs one of the two jobs, by the network that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--marks", type=Path, required=True)
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--keras", type=Path)
    network.add_argument("--litert", type=Path)
    flags = parser.parse_args()
    (recommended if flags.keras else same_network)(flags)


def paths(directory: Path) -> list[str]:
    """Returns the images of a directory."""
    return sorted(str(path) for path in directory.glob("*.jpg"))


def mark(directory: Path, images: int) -> None:
    """Notes that so many more images have their vectors; each process has a file of its own."""
    with (directory / f"{os.getpid()}").open("a") as stream:
        stream.write(f"{time.time()} {images}\n")


def read_pixels(path: str) -> Pixels:
    """Decodes and resizes as heliograph does: Pillow, scaled to at least twice the size, antialiased bilinear."""
    from PIL import Image

    with Image.open(path) as image:
        image.draft("RGB", (2 * SIZE, 2 * SIZE))
        return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))


class ConvertedNetwork:
    """The converted network: ``uint8[B, 224, 224, 3]`` to ``float32[B, 1280]``, an image a call of one thread.

    Threads may call it at once: each takes an interpreter of its own, which is made when there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __call__(self, batch: Pixels) -> Vectors:
        """Encodes a batch in the calling thread."""
        interpreter = self._take()
        source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        vectors = np.empty((len(batch), DIMENSION), np.float32)
        for position, pixels in enumerate(batch):
            interpreter.set_tensor(source, pixels[np.newaxis])
            interpreter.invoke()
            vectors[position] = interpreter.get_tensor(target)[0]
        self._idle.put(interpreter)
        return vectors

    def _take(self) -> Any:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            from ai_edge_litert.interpreter import Interpreter

            interpreter = Interpreter(self._path, num_threads=1)
            interpreter.allocate_tensors()
            return interpreter


def write_parquet(output: Path, names: list[str], vectors: Vectors) -> None:
    """Writes what an engine without a writer of its own has computed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    output.mkdir(parents=True, exist_ok=True)
    rows = pa.ListArray.from_arrays(np.arange(0, vectors.size + 1, DIMENSION, dtype=np.int32), vectors.reshape(-1))
    pq.write_table(pa.table({"path": names, "embedding": rows}), output / "part.parquet", compression="none")

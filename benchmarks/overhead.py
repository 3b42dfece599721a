"""The pipeline alone: listing, planning, shards, Parquet and the commit, with an encoder that does nothing.

    python -m benchmarks.overhead [--images 40000]

Reading returns a file's address and decoding an array that is there already, so that every image has a content of its
own and costs nothing; the vectors are the default encoder's 1,280 numbers. Prints one line of JSON: images a second
of the whole run, and of the step that reads, decodes, encodes and writes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import processes
from transforms.encoders.specification import EncoderSpecification
from transforms.images.decode import DecodedImage


class NoEncoder:
    """Gives the same vectors for any pixels."""

    def __init__(self, specification: EncoderSpecification) -> None:
        self.specification = specification
        self._vectors = np.random.default_rng(0).random((1024, specification.dimension), dtype=np.float32)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """uint8[B, height, width, 3] to float32[B, dimension]."""
        return self._vectors[: len(pixels)]


@contextlib.contextmanager
def nothing_to_do() -> Iterator[None]:
    """Takes reading, decoding and encoding out of this process."""
    encoders: dict[str, NoEncoder] = {}
    image = DecodedImage(np.zeros((224, 224, 3), np.uint8), 500, 375, "JPEG")

    def load(specification: EncoderSpecification, *_: Any, **__: Any) -> NoEncoder:
        return encoders.setdefault(specification.fingerprint, NoEncoder(specification))

    def decode(*_: Any) -> DecodedImage:  # a mock would keep each call
        return image

    with contextlib.ExitStack() as stack:
        for module in ("shards.embedder", "encoders.engines", "commit_parts"):
            stack.enter_context(mock.patch(f"transforms.{module}.load_encoder", load))
        stack.enter_context(mock.patch("transforms.shards.readahead.read_image", _address))
        stack.enter_context(mock.patch("transforms.shards.decoder.decode_image", decode))
        yield


def _address(uri: str, *_: Any) -> bytes:
    return uri.encode()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``heliograph embed`` in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40_000)
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        for number in range(flags.images):
            Path(directory, f"{number:06d}.jpg").write_bytes(number.to_bytes(4, "big"))
        with nothing_to_do():
            command = ["embed", "--input", directory, "--no-report", "--engine", "tensorflow"]
            processes.run_here([*command, "--store", f"{directory}/warm", "--dry-run"])
            record = processes.run_here([*command, "--store", f"{directory}/store"])
    step = sum(record["stage_seconds"].values())
    print(
        json.dumps(
            {
                "images": record["embedded"],
                "seconds": record["seconds"],
                "images_per_second": record["images_per_second"],
                "stage_seconds": record["stage_seconds"],
                "stages_images_per_second": round(record["embedded"] / step, 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

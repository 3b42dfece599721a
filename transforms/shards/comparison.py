"""The vectors that a run has stored, compared with those that TensorFlow gives for the same images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.encoders.conversion import encode_by_tensorflow, reference
from transforms.encoders.difference import difference
from transforms.encoders.encoder import Pixels, Vectors
from transforms.encoders.engines import ALWAYS_INSTALLED, golden_difference, on_engine
from transforms.encoders.resolve import load_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import EncoderError, ImageError, StoreError
from transforms.images.decode import decode_image
from transforms.images.limits import DEFAULT_LIMITS
from transforms.machine.memory import usable_memory
from transforms.sources.read import read_image
from transforms.store.read import read_file

IMAGES = 32
"""Of a run that are compared at most."""

WORTH_SECONDS = 120.0
"""How long a run must take to have TensorFlow loaded for it, which takes six seconds: at most 5 %."""

WORTH_MEMORY = 4 << 30
"""Bytes that the process may use for that: TensorFlow takes one of these gigabytes."""

FILES = 8
"""Parts that they are taken from at most."""


def compare_stored(
    specification: EncoderSpecification,
    files: Sequence[str],
    roots: Sequence[str],
    seconds: float,
    trust_model: bool = False,
) -> dict[str, Any]:
    """Reads some images of a run again and compares their stored vectors.

    A short run, or one with little memory, does not load TensorFlow. It is compared with the network in float32 on
    LiteRT, which is itself compared with TensorFlow on the golden images; where that is what computes, on the golden
    images alone. So is a run whose images lie in containers, or have changed meanwhile.

    Args:
      specification: of the encoder.
      files: addresses of the run's parts.
      roots: folders below which local images must lie.
      seconds: that the run took so far.
      trust_model: loads models that carry code as well.

    Returns:
      ``mean`` and ``least`` cosine, the number of ``images``, what they are ``of``, what they are compared ``with``
      and the ``seconds`` that it took.
    """
    started = time.perf_counter()
    golden = {
        **golden_difference(specification, trust_model)._asdict(),
        "of": "the golden images",
        "with": "tensorflow",
    }
    exact = on_engine(reference(specification), ALWAYS_INSTALLED)
    by_tensorflow = seconds >= WORTH_SECONDS and usable_memory() >= WORTH_MEMORY
    if specification.engine == "tensorflow" or (specification == exact and not by_tensorflow):
        return golden
    try:
        pixels, stored = _sample(specification, files, roots)
        if not len(pixels):
            return golden
        if by_tensorflow:
            expected, name = encode_by_tensorflow(specification, pixels, trust_model), "tensorflow"
        else:
            expected, name = load_encoder(exact, trust_model=trust_model, threads=1).encode(pixels), "litert in float32"
    except (EncoderError, StoreError, OSError):  # a figure for the record is not worth a run
        return golden
    return {
        **difference(stored, expected)._asdict(),
        "images": len(pixels),
        "of": "the images of this run",
        "with": name,
        "golden": {"mean": golden["mean"], "least": golden["least"]},
        "seconds": round(time.perf_counter() - started, 3),
    }


def _sample(specification: EncoderSpecification, files: Sequence[str], roots: Sequence[str]) -> tuple[Pixels, Vectors]:
    """Pixels and stored vectors of some images, of each of some parts the first that can be read."""
    chosen = sorted(files)[:FILES]
    each = -(-IMAGES // max(len(chosen), 1))
    pixels, vectors = [], []
    for file in chosen:
        batch = next(read_file(file, ["image_uri", "embedding"], each, views=[0]), None)
        if batch is None:
            continue
        stored = batch.column("embedding").flatten().to_numpy().reshape(len(batch), -1)
        for uri, vector in zip(batch.column("image_uri").to_pylist(), stored, strict=True):
            try:
                data = read_image(uri, roots, DEFAULT_LIMITS.max_bytes)
                pixels.append(decode_image(data, specification.preprocessing).pixels)
            except ImageError:
                continue
            vectors.append(vector)
    size = specification.preprocessing
    empty = np.zeros((0, size.height, size.width, 3), np.uint8)
    return (np.stack(pixels) if pixels else empty), np.array(vectors, np.float32)

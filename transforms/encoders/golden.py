"""Golden images: a few pictures made of integers, and the check that an encoder still sees them alike."""

from __future__ import annotations

import numpy as np

from transforms.encoders.encoder import Encoder, Pixels, Vectors
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import SelfTestError

# Least cosine and largest difference, as a share of the largest expected value. Another processor changes
# float32 by some 1e-5; swapped channels, another scale or other weights change it by far more.
TOLERANCES = {
    "float32": (0.99999, 0.005),
    "float16": (0.9999, 0.02),
    "bfloat16": (0.995, 0.15),
    "int8": (0.98, 0.3),
}


def golden_images(specification: EncoderSpecification) -> Pixels:
    """Draws the golden images at an encoder's size.

    Integer arithmetic alone decides every byte, so they are the same everywhere, for ever.

    Returns:
      uint8[6, height, width, 3]: a coloured gradient, a checkerboard, rings, stripes of pure colours,
      noise, and noise in coarse blocks.
    """
    height, width = specification.preprocessing.height, specification.preprocessing.width
    row = np.arange(height, dtype=np.int64)[:, None]
    column = np.arange(width, dtype=np.int64)[None, :]
    flat = np.zeros((height, width), np.int64)
    across, down = column * 255 // max(width - 1, 1) + flat, row * 255 // max(height - 1, 1) + flat
    check = (row * 8 // height + column * 8 // width) % 2
    distance = (2 * row - height) ** 2 + (2 * column - width) ** 2
    ring = distance * 24 // (height**2 + width**2) % 3
    stripe = column * 12 // width % 6
    noise = _noise(height * width * 3, seed=1).reshape(height, width, 3)
    blocks = _noise(8 * 8 * 3, seed=2).reshape(8, 8, 3)[row * 8 // height, column * 8 // width]
    images = [
        np.stack([across, down, 255 - across], -1),
        np.stack([check * 230, check * 120 + 20, 90 - check * 60], -1),
        np.stack([(ring == 0) * 250 + flat, (ring == 1) * 170 + 40, (ring == 2) * 220 + 10], -1),
        np.stack([(stripe % 3 == part) * (255 - 90 * (stripe // 3)) + flat for part in range(3)], -1),
        noise,
        blocks,
    ]
    return np.stack(images).astype(np.uint8)


def self_test(encoder: Encoder, expected: Vectors) -> None:
    """Compares an encoder's vectors of the golden images with those that were kept.

    The tolerance is that of the specification's precision in TOLERANCES, image by image.

    Args:
      encoder: what is about to be used.
      expected: float32[G, dimension], made with the same specification.

    Raises:
      SelfTestError: the vectors differ by more than rounding does, or are not finite.
    """
    specification = encoder.specification
    found = encoder.encode(golden_images(specification)).astype(np.float64)
    kept = np.asarray(expected, np.float64)
    if found.shape != kept.shape:
        raise SelfTestError(
            f"{specification.name} gives golden vectors of shape {list(found.shape)}, kept are {list(kept.shape)}"
        )
    least, largest = TOLERANCES.get(specification.precision, TOLERANCES["float32"])
    for position, (vector, reference) in enumerate(zip(found, kept, strict=True)):
        norms = float(np.linalg.norm(vector) * np.linalg.norm(reference))
        cosine = float(vector @ reference) / norms if norms else float(np.array_equal(vector, reference))
        difference = float(np.abs(vector - reference).max()) / max(float(np.abs(reference).max()), 1e-6)
        if not (cosine >= least and difference <= largest):
            raise SelfTestError(
                f"{specification.name} no longer gives the vectors of this table: golden image {position} has"
                f" cosine {cosine:.6f} (least {least}) and difference {difference:.4f} (most {largest});"
                " use the software it was made with, or start another table"
            )


def _noise(count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The high bytes of a linear congruential generator (Numerical Recipes' constants, modulo 2**32).

    State n is ``a^n * seed + c * (1 + a + … + a^(n-1))``; 32-bit integers leave out what exceeds them.
    """
    powers = np.cumprod(np.full(count, 1664525, np.uint32), dtype=np.uint32)
    sums = np.cumsum(np.concatenate([np.ones(1, np.uint32), powers[:-1]]), dtype=np.uint32)
    return ((powers * np.uint32(seed) + sums * np.uint32(1013904223)) >> 24).astype(np.int64)

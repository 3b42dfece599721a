"""What every engine offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from transforms.encoders.specification import EncoderSpecification
from transforms.errors import EncoderError

Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Turns images into vectors; many threads may call it at once."""

    @property
    def specification(self) -> EncoderSpecification:
        """What this encoder is."""

    def encode(self, pixels: Pixels) -> Vectors:
        """uint8[B, height, width, 3], RGB, any B, to float32[B, dimension]."""


def check_pixels(pixels: Pixels, specification: EncoderSpecification) -> None:
    """Raises EncoderError when a batch is not what the encoder takes."""
    size = specification.preprocessing
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (size.height, size.width, 3):
        raise EncoderError(
            f"pixels must be uint8[B, {size.height}, {size.width}, 3], got {pixels.dtype}{list(pixels.shape)}"
        )

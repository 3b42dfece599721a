"""What tests draw and write images with."""

from __future__ import annotations

import io
import struct
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


class GoodImage(NamedTuple):
    """An image and its upright pixels, ``uint8[height, width, 3]``, within ``tolerance`` grey levels."""

    data: bytes
    pixels: np.ndarray
    tolerance: int = 0


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Draws a smooth picture of many colours with some noise."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (max(height // 9, 2), max(width // 9, 2), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noise = random.integers(-9, 10, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Returns the image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """Returns an EXIF block with nothing but the orientation, in either byte order, as SHORT or LONG."""
    value = struct.pack(order + ("HH" if kind == 3 else "I"), orientation, *([0] if kind == 3 else []))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1)
    entry = struct.pack(order + "HHI", 0x0112, kind, 1) + value
    return b"Exif\0\0" + head + entry + struct.pack(order + "I", 0)


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns what should be seen of colours with alpha (0 to 255), by the definition."""
    share = alpha[..., np.newaxis] / 255
    return np.floor(colour * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    """Returns three equal channels."""
    return np.repeat(grey.astype(np.uint8)[..., np.newaxis], 3, axis=2)


def rows(samples: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in samples]

"""What one image may cost, checked before its pixels are decoded."""

from __future__ import annotations

import dataclasses

from transforms.errors import ErrorClass, ImageError, OptionError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """The caps on one image; a larger one becomes a dead letter.

    The defaults admit a JPEG of 200 megapixels (a telephone's largest), since it is decoded scaled, and
    every other image that decodes within ``max_memory``.

    Attributes:
      max_bytes: of the file.
      max_pixels: stored width times height, whatever is decoded of it.
      max_side: the longer of width and height, in pixels.
      max_aspect_ratio: the longer side over the shorter.
      max_memory: bytes that decoding may take at its peak, estimated from the header.
      max_scans: of a JPEG; each is a pass over the picture that costs the sender a few bytes.

    Raises:
      OptionError: when one of them is not positive.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 200_000_000
    max_side: int = 32_768
    max_aspect_ratio: float = 200.0
    max_memory: int = 256 * 2**20
    max_scans: int = 100

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise OptionError(f"{name} must be positive, got {value}")


DEFAULT_LIMITS = ImageLimits()


def check_bytes(size: int, limits: ImageLimits) -> None:
    """Refuses a file by its size in bytes.

    Raises:
      ImageError: EMPTY or TOO_LARGE_BYTES.
    """
    if size == 0:
        raise ImageError(ErrorClass.EMPTY, "the file is empty")
    if size > limits.max_bytes:
        raise ImageError(ErrorClass.TOO_LARGE_BYTES, f"the file has {size:,} bytes, more than {limits.max_bytes:,}")


def check_dimensions(width: int, height: int, limits: ImageLimits) -> None:
    """Refuses a picture by the width and height that its header gives.

    Raises:
      ImageError: BAD_DIMENSIONS or TOO_MANY_PIXELS.
    """
    shape = f"{width:,} × {height:,} pixels"
    if width < 1 or height < 1:
        raise ImageError(ErrorClass.BAD_DIMENSIONS, f"the picture has {shape}")
    if width * height > limits.max_pixels:
        raise ImageError(ErrorClass.TOO_MANY_PIXELS, f"{shape} are more than {limits.max_pixels:,}")
    long, short = max(width, height), min(width, height)
    if long > limits.max_side:
        raise ImageError(ErrorClass.BAD_DIMENSIONS, f"{shape}: a side is longer than {limits.max_side:,}")
    if long > limits.max_aspect_ratio * short:
        raise ImageError(
            ErrorClass.BAD_DIMENSIONS,
            f"{shape}: the sides differ by more than {limits.max_aspect_ratio:g} times",
        )


def check_memory(needed: int, width: int, height: int, limits: ImageLimits) -> None:
    """Refuses a picture whose decoding takes ``needed`` bytes.

    Raises:
      ImageError: TOO_MANY_PIXELS.
    """
    if needed > limits.max_memory:
        raise ImageError(
            ErrorClass.TOO_MANY_PIXELS,
            f"{width:,} × {height:,} pixels need {needed / 2**20:,.0f} MiB to decode, "
            f"more than {limits.max_memory / 2**20:,.0f}",
        )

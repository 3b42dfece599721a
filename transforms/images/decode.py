"""Image bytes to the uint8 pixels that enter a network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from transforms.encoders.specification import Preprocessing
from transforms.errors import ErrorClass, ImageError, OptionError
from transforms.images import containers
from transforms.images.colour import flatten
from transforms.images.failures import to_image_error
from transforms.images.formats import identify, open_image
from transforms.images.limits import DEFAULT_LIMITS, ImageLimits, check_bytes, check_dimensions, check_memory

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
"""The values of Preprocessing.resize."""

DRAFT_FACTOR = 2
"""A large JPEG is decoded at the smallest scale that leaves this many times the size asked for."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Bytes a pixel at the peak: the decoded picture and what flatten makes of it.
_MODE_BYTES = {"1": 4, "L": 4, "P": 9, "LA": 8, "RGB": 5, "RGBA": 8, "RGBX": 8, "CMYK": 8, "YCbCr": 8}
_KEYED_BYTES = 14
_OTHER_MODE_BYTES = 24
_CODEC_BYTES = {"WEBP": 16, "AVIF": 12}
_COEFFICIENT_BYTES = 2

# Eight bytes of ones in place of the end marker: enough for the decoder to look ahead, too few to finish
# a picture with. One that is cut short but marked as ended then fails, rather than getting a grey bottom.
_PADDING = b"\xff\x00" * 8


class DecodedImage(NamedTuple):
    """One image, ready for a network.

    Attributes:
      pixels: ``uint8[height, width, 3]``, RGB, of the size that the preprocessing asks for.
      width: of the upright original, in pixels.
      height: of the upright original, in pixels.
      format: ``JPEG``, ``PNG`` …, one of transforms.images.formats.FORMATS.
    """

    pixels: np.ndarray
    width: int
    height: int
    format: str


def decode_image(data: bytes, preprocessing: Preprocessing, limits: ImageLimits = DEFAULT_LIMITS) -> DecodedImage:
    """Decodes the first picture of a file, upright, over white, resized without keeping its proportions.

    Safe to call from several threads; changes nothing global, prints nothing.

    Args:
      data: of the file.
      preprocessing: size and filter; pipelines.training.serving computes the same bytes in TensorFlow.
      limits: what the image may cost.

    Raises:
      ImageError: whatever is wrong with the image.
      OptionError: when ``preprocessing.resize`` is none of FILTERS.
    """
    resample = FILTERS.get(preprocessing.resize)
    if resample is None:
        raise OptionError(f"resize must be one of {', '.join(FILTERS)}, got {preprocessing.resize!r}")
    check_bytes(len(data), limits)
    image_format = identify(data)
    try:
        upright, width, height = _decode(data, image_format, preprocessing, limits)
        pixels = upright.resize((preprocessing.width, preprocessing.height), resample)
        return DecodedImage(np.asarray(pixels.convert("RGB")), width, height, image_format)
    except ImageError:
        raise
    except Exception as error:  # around one image: Pillow raises anything on a bad file
        raise to_image_error(error, data, image_format) from error


def draft_ratio(width: int, height: int, preprocessing: Preprocessing) -> int:
    """Returns by how much a JPEG is scaled down as it is decoded: 8, 4, 2 or 1.

    Args:
      width: of the upright picture, in pixels.
      height: of the upright picture, in pixels.
      preprocessing: the size asked for.
    """
    if preprocessing.exact_decode:
        return 1
    scale = min(width // (DRAFT_FACTOR * preprocessing.width), height // (DRAFT_FACTOR * preprocessing.height))
    return max((ratio for ratio in (8, 4, 2) if ratio <= scale), default=1)


class _Opened(NamedTuple):
    """An image whose header was read and found within the limits; width and height are as stored."""

    image: ImageFile.ImageFile
    orientation: int
    width: int
    height: int


def _decode(
    data: bytes, image_format: str, preprocessing: Preprocessing, limits: ImageLimits
) -> tuple[Image.Image, int, int]:
    """Returns the upright picture in ``L`` or ``RGB`` and the original's upright width and height."""
    if image_format == "JPEG":
        image, orientation, width, height = _open_jpeg(data, preprocessing, limits)
    else:
        image, orientation, width, height = _open_other(data, image_format, limits)
    with image:
        expected = image.size
        image.load()
        if image_format == "TIFF" and image.size == expected[::-1]:  # it turns itself upright
            width, height = image.size
        elif image.size != expected:
            raise ImageError(ErrorClass.CORRUPT, f"{expected} pixels announced, {image.size} decoded")
        flat = flatten(image, _bit_depth(image, data, image_format))
    upright = flat.transpose(_TURNS[orientation]) if orientation in _TURNS else flat
    return (upright, height, width) if orientation >= 5 else (upright, width, height)


def _open_jpeg(data: bytes, preprocessing: Preprocessing, limits: ImageLimits) -> _Opened:
    header = containers.read_jpeg_header(data)
    if header.single_scan:
        end = data.find(containers.END_OF_IMAGE, header.scan)
        data = data[:end] + _PADDING if end >= 0 else data
    image = open_image(data, "JPEG")
    width, height = image.size
    check_dimensions(width, height, limits)
    coefficients = 0.0
    if not header.single_scan:
        _check_scans(data, header, limits)
        coefficients = width * height * header.samples_per_pixel * _COEFFICIENT_BYTES
    upright = (height, width) if header.orientation >= 5 else (width, height)
    ratio = draft_ratio(*upright, preprocessing)
    if ratio > 1:
        image.draft(None, (width // ratio, height // ratio))
    pixels = image.size[0] * image.size[1]
    needed = int(coefficients + pixels * _bytes_per_pixel(image, "JPEG", header.orientation))
    check_memory(needed, width, height, limits)
    return _Opened(image, header.orientation, width, height)


def _open_other(data: bytes, image_format: str, limits: ImageLimits) -> _Opened:
    if image_format == "WEBP":
        _check_webp(data, limits)
    image = open_image(data, image_format)
    width, height = image.size
    check_dimensions(width, height, limits)
    if image_format == "PNG":
        orientation = containers.png_orientation(data)
    elif image_format == "TIFF":
        orientation = 1
        _check_tiles(image, limits)
    else:
        orientation = containers.exif_orientation(image.info.get("exif") or b"")
    needed = width * height * _bytes_per_pixel(image, image_format, orientation)
    check_memory(needed, width, height, limits)
    return _Opened(image, orientation, width, height)


def _bytes_per_pixel(image: Image.Image, image_format: str, orientation: int) -> int:
    """Returns what decoding takes at its peak, as an estimate from above."""
    by_mode = _MODE_BYTES.get(image.mode, _OTHER_MODE_BYTES)
    if "transparency" in image.info and image.mode in ("1", "L", "RGB"):
        by_mode = _KEYED_BYTES
    turned = 4 if orientation > 1 or image_format == "TIFF" else 0
    return by_mode + turned + _CODEC_BYTES.get(image_format, 0)


def _check_webp(data: bytes, limits: ImageLimits) -> None:
    """Checks the canvas, which Pillow allocates as it opens the file."""
    width, height = containers.webp_canvas(data)
    if width and height:
        check_dimensions(width, height, limits)
        check_memory(width * height * _CODEC_BYTES["WEBP"], width, height, limits)


def _check_tiles(image: Image.Image, limits: ImageLimits) -> None:
    """Checks the tiles of a TIFF, whose buffers may be far larger than its picture."""
    tags = getattr(image, "tag_v2", {})
    width, height = tags.get(322, 0), tags.get(323, 0)
    if isinstance(width, int) and isinstance(height, int):
        check_memory(width * height * 8, width, height, limits)


def _check_scans(data: bytes, header: containers.JpegHeader, limits: ImageLimits) -> None:
    """Checks that the scans are few and bring every bit of every coefficient.

    A file cut short but marked as ended lacks its last scans; nothing else tells it from a whole one.
    """
    missing = {component: bytearray(b"\xff" * 64) for component in header.components}
    for count, (components, first, last, bits) in enumerate(containers.jpeg_scans(data, header.scan), start=1):
        if count > limits.max_scans:
            raise ImageError(ErrorClass.TOO_MANY_PIXELS, f"a JPEG of more than {limits.max_scans:,} scans")
        if header.sequential:
            first, last, bits = 0, 63, 0
        for component in components:
            if component in missing:
                missing[component][first : last + 1] = bytes([bits]) * (min(last, 63) + 1 - first)
    if any(any(coefficients) for coefficients in missing.values()):
        raise ImageError(ErrorClass.TRUNCATED, "JPEG: the last scans are missing")


def _bit_depth(image: Image.Image, data: bytes, image_format: str) -> int:
    """Returns the bits of a sample as stored, 16 or less when there is doubt."""
    if image_format == "PNG":
        return data[24]
    bits = getattr(image, "tag_v2", {}).get(258)
    depth = bits[0] if isinstance(bits, tuple) and bits else bits
    default = 16 if image.mode.startswith("I;16") else 8
    return depth if isinstance(depth, int) and 8 <= depth <= 16 else default

"""The image formats that are read, and how a file is recognised as one of them."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import warnings

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from transforms.errors import ErrorClass, ImageError

# Once for the process, never per call: filters are global, so threads that changed them would race.
# What Pillow warns of here either fails the image or does not matter.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
# libtiff writes its errors to standard error itself; Pillow reports them as exceptions besides
with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)  # type: ignore[attr-defined]

# The classes are opened directly: `Image.open` hides why a file was refused, warns of large ones before
# their size can be looked at, and reads the index of all pictures of an MPO file, of which one is used.
_OPENERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
FORMATS = tuple(_OPENERS)

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
}
_AVIF_BRANDS = (b"avif", b"avis")


def identify(data: bytes) -> str:
    """Returns the format of an image file, one of FORMATS, by its first bytes; names and extensions lie.

    Raises:
      ImageError: UNSUPPORTED_FORMAT.
    """
    for signature, image_format in _SIGNATURES.items():
        if data.startswith(signature):
            return image_format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
        if any(brand in brands for brand in _AVIF_BRANDS):
            return "AVIF"
    raise ImageError(
        ErrorClass.UNSUPPORTED_FORMAT,
        f"the file starts with {data[:16]!r}, which is none of {', '.join(FORMATS)}",
    )


def open_image(data: bytes, image_format: str) -> ImageFile.ImageFile:
    """Reads the header of an image file; its pixels are not decoded yet.

    Raises:
      Exception: of any kind, as Pillow does.
    """
    return _OPENERS[image_format](io.BytesIO(data))

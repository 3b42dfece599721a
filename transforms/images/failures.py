"""What an exception of the decoder means for the image."""

from __future__ import annotations

from transforms.errors import ErrorClass, ImageError
from transforms.images.containers import is_cut_short

_TRUNCATED = (
    "truncated",
    "unexpected end",
    "premature end",
    "got header but not",
    "buffer is not large enough",
)
_BOMBS = ("decompressed data too large", "too much memory used in text chunks")
_UNSUPPORTED = (
    "cannot handle",
    "unsupported",
    "not supported",
    "unknown pixel mode",
    "unknown image mode",
    "unrecognized image mode",
)


def to_image_error(error: Exception, data: bytes, image_format: str) -> ImageError:
    """Returns the ImageError for what Pillow raised as it read ``data``.

    Pillow raises far more than OSError on bad files, and tells the reason in the message alone.
    """
    message = " ".join(str(error).split()) or type(error).__name__
    words = message.lower()
    if isinstance(error, MemoryError):
        error_class = ErrorClass.OUT_OF_MEMORY
    elif type(error).__name__.startswith("DecompressionBomb"):
        error_class = ErrorClass.TOO_MANY_PIXELS
    elif any(bomb in words for bomb in _BOMBS):
        error_class = ErrorClass.METADATA_BOMB
    elif any(part in words for part in _TRUNCATED) or is_cut_short(data, image_format):
        error_class = ErrorClass.TRUNCATED
    elif any(part in words for part in _UNSUPPORTED):
        error_class = ErrorClass.UNSUPPORTED_FORMAT
    else:
        error_class = ErrorClass.CORRUPT
    return ImageError(error_class, f"{image_format}: {message}"[:500], type(error).__name__)

"""Small pictures for a page, as data: addresses; an image that cannot be shown has none."""

from __future__ import annotations

import base64
import io

from PIL import Image
from pyarrow import fs

from transforms.encoders.specification import Preprocessing
from transforms.errors import HeliographError
from transforms.files.filesystem import open_filesystem
from transforms.images.decode import decode_image
from transforms.images.limits import DEFAULT_LIMITS

SIDE = 160
"""The longer side of a thumbnail, in pixels."""

_QUALITY = 80
_SQUARE = Preprocessing(height=SIDE, width=SIDE)


def thumbnail(uri: str) -> str | None:
    """Returns the image at ``uri`` as a JPEG of at most SIDE pixels in a data: address, None if it cannot."""
    try:
        data = _read(uri)
        if data is None:
            return None
        decoded = decode_image(data, _SQUARE)
    except (HeliographError, OSError, ValueError):
        return None
    longest = max(decoded.width, decoded.height)
    size = max(1, round(decoded.width * SIDE / longest)), max(1, round(decoded.height * SIDE / longest))
    stream = io.BytesIO()
    Image.fromarray(decoded.pixels).resize(size, Image.Resampling.BILINEAR).save(stream, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _read(uri: str) -> bytes | None:
    filesystem, path = open_filesystem(uri)
    found = filesystem.get_file_info(path)
    if found.type != fs.FileType.File or not 0 < (found.size or 0) <= DEFAULT_LIMITS.max_bytes:
        return None
    with filesystem.open_input_stream(path) as stream:
        data: bytes = stream.read(DEFAULT_LIMITS.max_bytes)
        return data

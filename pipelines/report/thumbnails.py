"""Small pictures for a page, as data: addresses; an image that cannot be shown has none."""

from __future__ import annotations

import collections
import contextlib
import functools
import io
from collections.abc import Callable, Sequence

import pyarrow as pa
from PIL import Image
from pyarrow import fs

from pipelines.report.assets import data_address
from transforms.encoders.specification import Preprocessing
from transforms.errors import HeliographError
from transforms.files.filesystem import open_filesystem
from transforms.images.decode import decode_image
from transforms.images.limits import DEFAULT_LIMITS
from transforms.sources.dialects import DIALECTS, recognise
from transforms.sources.members import MemberReader

SIDE = 160
"""The longer side of a thumbnail, in pixels."""

_QUALITY = 80
_FAULTS = (HeliographError, OSError, ValueError, pa.ArrowException)
_SQUARE = Preprocessing(height=SIDE, width=SIDE)


def thumbnails(uris: Sequence[str]) -> list[str | None]:
    """Returns a picture for each address; a container is listed once for all of its images.

    A picture is a JPEG of at most SIDE pixels in a data: address, None where it cannot be shown.
    """
    found: dict[str, str | None] = {}
    containers: dict[str, set[str]] = collections.defaultdict(set)
    for uri in uris:
        found[uri] = _picture(functools.partial(read_image, uri))
        if found[uri] is None and "#" in uri:
            containers[uri.rpartition("#")[0]].add(uri)
    for container, members in containers.items():
        found |= _member_pictures(container, members)
    return [found[uri] for uri in uris]


def _member_pictures(container: str, wanted: set[str]) -> dict[str, str | None]:
    """Returns the pictures of members, read forward until all are found."""
    found: dict[str, str | None] = {}
    with contextlib.suppress(*_FAULTS):
        filesystem, path = open_filesystem(container)
        if filesystem.get_file_info(path).type != fs.FileType.File:  # to open a named pipe would wait for ever
            return {}
        sources = [source for source in recognise(container) if DIALECTS[source.dialect].is_container]
        reader = MemberReader([source.root for source in sources], DEFAULT_LIMITS.max_bytes)
        with contextlib.closing(reader):
            for reference in (reference for source in sources for reference in source.list_images()):
                if reference.uri in wanted and not reference.problem:
                    reader.announce(reference)
                    found[reference.uri] = _picture(functools.partial(reader.read, reference))
                if len(found) == len(wanted):
                    break
    return found


def _picture(read: Callable[[], bytes | None]) -> str | None:
    try:
        data = read()
        if data is None:
            return None
        decoded = decode_image(data, _SQUARE)
    except _FAULTS:
        return None
    longest = max(decoded.width, decoded.height)
    size = max(1, round(decoded.width * SIDE / longest)), max(1, round(decoded.height * SIDE / longest))
    stream = io.BytesIO()
    Image.fromarray(decoded.pixels).resize(size, Image.Resampling.BILINEAR).save(stream, "JPEG", quality=_QUALITY)
    return data_address(stream.getvalue(), "jpeg")


def read_image(uri: str) -> bytes | None:
    """Returns the content of a file of its own; None when there is none, or it is too large."""
    filesystem, path = open_filesystem(uri)
    found = filesystem.get_file_info(path)
    if found.type != fs.FileType.File or not 0 < (found.size or 0) <= DEFAULT_LIMITS.max_bytes:
        return None
    with filesystem.open_input_stream(path) as stream:
        data: bytes = stream.read(DEFAULT_LIMITS.max_bytes)
        return data

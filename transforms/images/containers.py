"""What the bytes around the pixels say: orientation, scans, canvas, and whether the end is missing.

The served graph reads the orientation by these same rules, so they stay simple: a JPEG's first APP1 segment
with EXIF before the first scan, a PNG's first eXIf chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

ORIENTATION = 0x0112
EXIF = b"Exif\x00\x00"
START_OF_SCAN = 0xDA
END_OF_IMAGE = b"\xff\xd9"
_SEQUENTIAL = (0xC0, 0xC1)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# between entropy-coded bytes a marker is 0xFF and neither a stuffed zero, nor a restart, nor a fill byte
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))


class JpegHeader(NamedTuple):
    """What stands before the first scan of a JPEG.

    Attributes:
      orientation: of the EXIF segment, 1 to 8.
      scan: offset of the first entropy-coded byte; 0 when there is no scan.
      components: the numbers by which scans name the components, a byte each.
      sequential: not progressive.
      single_scan: sequential, with all components in one scan.
      samples_per_pixel: of all components after subsampling, at most 4 or so.
    """

    orientation: int
    scan: int
    components: bytes
    sequential: bool
    single_scan: bool
    samples_per_pixel: float


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, start of content, end of content) up to and including the first scan's header."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return
        yield marker, at + 4, at + 2 + length
        if marker == START_OF_SCAN:
            return
        at += 2 + length


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Reads what decoding must know beforehand; tolerates anything."""
    exif, scan, frame, components, in_scan, samples = b"", 0, 0, b"", 0, 3.0
    for marker, start, end in jpeg_segments(data):
        content = data[start:end]
        if marker == 0xE1 and not exif and content.startswith(EXIF):
            exif = content
        elif marker in _FRAMES and len(content) >= 6:
            frame, components = marker, content[6::3][: content[5]]
            samples = _samples_per_pixel(content[7::3][: content[5]])
        elif marker == START_OF_SCAN and content:
            scan, in_scan = end, content[0]
    sequential = frame in _SEQUENTIAL
    single = sequential and 0 < in_scan == len(components)
    return JpegHeader(exif_orientation(exif), scan, components, sequential, single, samples)


def jpeg_scans(data: bytes, scan: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yields (components, first coefficient, last coefficient, bits still missing of them) of each scan.

    Args:
      data: of the file.
      scan: offset of the first entropy-coded byte.
    """
    at = data.rfind(b"\xff\xda", 0, scan)
    while at >= 0:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == START_OF_SCAN and end <= len(data) and end - at >= 8:
            yield data[at + 5 : end - 3 : 2], data[end - 3], data[end - 2], data[end - 1] & 15
        following = _MARKER.search(data, max(end, at + 2))
        at = following.start() if following and following.group() != END_OF_IMAGE else -1


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields (type, start of content, end of content) of the chunks that are whole."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            return
        yield data[at + 4 : at + 8], at + 8, end
        at = end + 4


def png_orientation(data: bytes) -> int:
    """Returns the orientation of the first eXIf chunk, 1 when there is none."""
    for name, start, end in png_chunks(data):
        if name == b"eXIf":
            return exif_orientation(data[start:end])
    return 1


def exif_orientation(exif: bytes) -> int:
    """Returns the orientation in an EXIF block, 1 to 8; 1 when it is absent or broken.

    EXIF 2.32, 4.6: a TIFF header, then the entries of the first directory, twelve bytes each.
    """
    tiff = exif.removeprefix(EXIF)
    orders: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
    order = orders.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    first = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[first : first + 2], order) if first + 2 <= len(tiff) else 0
    last = min(first + 2 + 12 * count, len(tiff) - 11)
    for at in range(first + 2, last, 12):
        if int.from_bytes(tiff[at : at + 2], order) == ORIENTATION:
            kind = int.from_bytes(tiff[at + 2 : at + 4], order)
            size = {3: 2, 4: 4}.get(kind, 0)
            value = int.from_bytes(tiff[at + 8 : at + 8 + size], order)
            return value if 1 <= value <= 8 else 1
    return 1


def webp_canvas(data: bytes) -> tuple[int, int]:
    """Returns (width, height) of a WebP file's header, (0, 0) when it cannot be read.

    Pillow's decoder allocates the canvas as it opens a file, so the size must be known earlier (RFC 9649).
    """
    kind = data[12:16]
    if len(data) < 30:
        return 0, 0
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        bits = int.from_bytes(data[26:30], "little")
        return bits & 0x3FFF, bits >> 16 & 0x3FFF
    return 0, 0


def is_cut_short(data: bytes, image_format: str) -> bool:
    """Returns whether the end that the container announces is missing."""
    if image_format == "JPEG":
        return END_OF_IMAGE not in data[read_jpeg_header(data).scan :]
    if image_format == "PNG":
        return not any(name == b"IEND" for name, _, _ in png_chunks(data))
    if image_format == "GIF":
        return not data.rstrip(b"\x00").endswith(b";")
    if image_format == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if image_format == "BMP":
        return int.from_bytes(data[2:6], "little") > len(data)
    if image_format == "AVIF":
        return _boxes_overrun(data)
    return _tiff_overruns(data)


def _samples_per_pixel(factors: bytes) -> float:
    pairs = [(factor >> 4, factor & 15) for factor in factors]
    widest = max((h for h, _ in pairs), default=0) * max((v for _, v in pairs), default=0)
    return sum(h * v for h, v in pairs) / widest if widest else 3.0


def _boxes_overrun(data: bytes) -> bool:
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:
            return False
        at += size
    return at != len(data)


def _tiff_overruns(data: bytes) -> bool:
    """Returns whether the first directory of a TIFF, or a strip or tile of its picture, lies beyond the end."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    first = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[first : first + 2], order)
    if len(data) < 8 or first + 2 + 12 * count > len(data):
        return True
    parts: dict[int, list[int]] = {}
    for at in range(first + 2, first + 2 + 12 * count, 12):
        tag = int.from_bytes(data[at : at + 2], order)
        if tag in (273, 279, 324, 325):  # offsets and lengths of strips and of tiles
            parts[tag] = _tiff_values(data, at, order)
    pairs = zip(parts.get(273, parts.get(324, [])), parts.get(279, parts.get(325, [])), strict=False)
    return any(offset + length > len(data) for offset, length in pairs)


def _tiff_values(data: bytes, entry: int, order: Literal["little", "big"]) -> list[int]:
    size = {3: 2, 4: 4}.get(int.from_bytes(data[entry + 2 : entry + 4], order), 4)
    length = size * int.from_bytes(data[entry + 4 : entry + 8], order)
    start = entry + 8 if length <= 4 else int.from_bytes(data[entry + 8 : entry + 12], order)
    end = min(start + length, len(data))
    return [int.from_bytes(data[at : at + size], order) for at in range(start, end, size)]

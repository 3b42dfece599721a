"""The members of a zip file, one after the other from its directory: nothing is extracted, nothing held."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from transforms.errors import ErrorClass, ImageError
from transforms.sources.container import ContainerLimits

LOCAL_MAGIC, CENTRAL_MAGIC, END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END64_LOCATOR, _END64 = b"PK\x06\x07", b"PK\x06\x06"
_LOCAL_BYTES, _CENTRAL_BYTES, _END_BYTES = 30, 46, 22
_MAX_COMMENT = 1 << 16
STORED, DEFLATED = 0, 8
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 1, 8, 1 << 11
_SATURATED = 0xFFFFFFFF
_LINK_OR_DEVICE = 0o170000
_REGULAR = 0o100000
_UNIX = 3


class ZipEntry(NamedTuple):
    """A regular file in a zip file.

    Attributes:
      name: as it stands there.
      offset: of its local header.
      compressed: bytes in the file.
      size: bytes when inflated, as the directory claims.
    """

    name: str
    offset: int
    compressed: int
    size: int


def zip_entries(stream: BinaryIO, size: int, limits: ContainerLimits) -> Iterator[ZipEntry]:
    """Yields the regular files in the order of the directory, of a cut file in the order of their bytes.

    Raises:
      ImageError: the file is cut, broken or beyond its caps; what came before is right.
    """
    count = total = compressed = 0
    directory = _find_directory(stream, size)
    entries = _local_entries(stream, size) if directory is None else _central_entries(stream, size, *directory)
    for entry in entries:
        count, total, compressed = count + 1, total + entry.size, compressed + entry.compressed
        if count > limits.max_members:
            raise ImageError(ErrorClass.TOO_LARGE_BYTES, f"the container has more than {limits.max_members:,} members")
        if compressed > size:
            raise ImageError(ErrorClass.TOO_LARGE_BYTES, "the members overlap, as in a zip bomb")
        if total > min(limits.max_total_bytes, limits.free_bytes + limits.max_ratio * size):
            raise ImageError(ErrorClass.TOO_LARGE_BYTES, f"the members inflate to more than {total:,} bytes")
        if not entry.name.endswith("/"):
            yield entry


def read_entry(stream: BinaryIO, offset: int, max_bytes: int) -> bytes:
    """Reads and inflates the member whose local header is at ``offset``, whatever sizes are claimed.

    Raises:
      ImageError: it is too large, cut, broken, encrypted or compressed in another way.
    """
    stream.seek(offset)
    header = stream.read(_LOCAL_BYTES)
    if len(header) < _LOCAL_BYTES or header[:4] != LOCAL_MAGIC:
        raise ImageError(ErrorClass.CORRUPT, f"no zip member at byte {offset:,}")
    flags, method, crc, compressed, size, name_bytes, extra_bytes = struct.unpack("<6xHH4xIIIHH", header)
    if flags & _ENCRYPTED:
        raise ImageError(ErrorClass.UNSUPPORTED_FORMAT, "the zip member is encrypted")
    name_and_extra = stream.read(name_bytes + extra_bytes)
    size, compressed, _ = _wide(name_and_extra[name_bytes:], size, compressed, 0)
    if size > max_bytes:
        raise ImageError(ErrorClass.TOO_LARGE_BYTES, f"the member has {size:,} bytes, more than {max_bytes:,}")
    if method == DEFLATED:
        data, crc = _inflate(stream, max_bytes, crc, bool(flags & _SIZES_FOLLOW))
    elif method == STORED and not flags & _SIZES_FOLLOW:
        data = stream.read(compressed if compressed <= max_bytes else 0)
        if len(data) < compressed:
            raise ImageError(ErrorClass.TRUNCATED, "the zip member is cut", "EOFError")
    else:
        raise ImageError(ErrorClass.UNSUPPORTED_FORMAT, f"zip compression {method} is not read; use store or deflate")
    if zlib.crc32(data) != crc:
        raise ImageError(ErrorClass.CORRUPT, "the zip member's checksum is wrong")
    return data


def _inflate(stream: BinaryIO, max_bytes: int, crc: int, sizes_follow: bool) -> tuple[bytes, int]:
    """Returns the inflated bytes, and their checksum from behind them when it was not known before."""
    inflater = zlib.decompressobj(-15)
    parts, length = [], 0
    try:
        while not inflater.eof:
            block = inflater.unconsumed_tail or stream.read(1 << 16)
            if not block:
                raise ImageError(ErrorClass.TRUNCATED, "the zip member is cut", "EOFError")
            part = inflater.decompress(block, max_bytes + 1 - length)
            length += len(part)
            if length > max_bytes:
                raise ImageError(ErrorClass.TOO_LARGE_BYTES, f"the member inflates to more than {max_bytes:,} bytes")
            parts.append(part)
    except zlib.error as error:
        raise ImageError(ErrorClass.CORRUPT, f"the zip member cannot be inflated: {error}", "error") from error
    if sizes_follow:
        behind = (inflater.unused_data + stream.read(8))[:8]
        crc = int.from_bytes(behind[4:8] if behind[:4] == b"PK\x07\x08" else behind[:4], "little")
    return b"".join(parts), crc


def _find_directory(stream: BinaryIO, size: int) -> tuple[int, int] | None:
    """Returns place and length of the central directory; None when the file is cut before its end."""
    tail = min(size, _END_BYTES + _MAX_COMMENT)
    stream.seek(size - tail)
    block = stream.read(tail)
    at = block.rfind(END_MAGIC)
    if at < 0 or len(block) - at < _END_BYTES:
        return None
    end = size - tail + at
    length, offset = struct.unpack("<II", block[at + 12 : at + 20])
    if _SATURATED in (length, offset) and end >= 20:
        stream.seek(end - 20)
        locator = stream.read(20)
        if locator[:4] == _END64_LOCATOR:
            stream.seek(min(struct.unpack("<Q", locator[8:16])[0], size))
            record = stream.read(56)
            if record[:4] == _END64 and len(record) == 56:
                length, offset = struct.unpack("<QQ", record[40:56])
    return (offset, length) if offset + length <= end else None


def _central_entries(stream: BinaryIO, size: int, offset: int, length: int) -> Iterator[ZipEntry]:
    position, end = offset, offset + length
    while position < end:
        stream.seek(position)  # the caller may have read elsewhere
        header = stream.read(_CENTRAL_BYTES)
        if len(header) < _CENTRAL_BYTES or header[:4] != CENTRAL_MAGIC:
            raise ImageError(ErrorClass.CORRUPT, f"the zip directory is broken at byte {position:,}")
        host, flags, compressed, inflated, name_bytes, extra_bytes, comment_bytes, mode, place = struct.unpack(
            "<5xB2xH10xIIHHH4x2xHI", header
        )
        name = stream.read(name_bytes)
        inflated, compressed, place = _wide(stream.read(extra_bytes), inflated, compressed, place)
        position += _CENTRAL_BYTES + name_bytes + extra_bytes + comment_bytes
        if host == _UNIX and mode & _LINK_OR_DEVICE not in (0, _REGULAR):
            continue
        if place >= size:
            raise ImageError(ErrorClass.CORRUPT, f"the zip directory points behind the end, to byte {place:,}")
        yield ZipEntry(_name(name, flags), place, compressed, inflated)


def _local_entries(stream: BinaryIO, size: int) -> Iterator[ZipEntry]:
    """Walks the members of a file whose directory is gone."""
    position = 0
    while True:
        stream.seek(position)
        header = stream.read(_LOCAL_BYTES)
        if len(header) < _LOCAL_BYTES or header[:4] != LOCAL_MAGIC:
            break
        flags, compressed, inflated, name_bytes, extra_bytes = struct.unpack("<6xH10xIIHH", header)
        name = stream.read(name_bytes)
        inflated, compressed, _ = _wide(stream.read(extra_bytes), inflated, compressed, 0)
        end = position + _LOCAL_BYTES + name_bytes + extra_bytes + compressed
        if flags & _SIZES_FOLLOW or end > size:
            break
        yield ZipEntry(_name(name, flags), position, compressed, inflated)
        position = end
    raise ImageError(ErrorClass.TRUNCATED, "the zip file has no directory at its end: it is cut", "EOFError")


def _wide(extra: bytes, size: int, compressed: int, place: int) -> tuple[int, int, int]:
    """Takes from the ZIP64 field what does not fit into 32 bits."""
    fields = io.BytesIO(extra)
    while len(head := fields.read(4)) == 4:
        kind, length = struct.unpack("<HH", head)
        content = io.BytesIO(fields.read(length))
        if kind == 1:
            values = [size, compressed, place]
            for index, value in enumerate(values):
                if value == _SATURATED and len(number := content.read(8)) == 8:
                    values[index] = int.from_bytes(number, "little")
            return values[0], values[1], values[2]
    return size, compressed, place


def _name(name: bytes, flags: int) -> str:
    """Names without the UTF-8 flag are UTF-8 all the same when they can be, else code page 437."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("utf-8", "surrogateescape") if flags & _UTF8 else name.decode("cp437")

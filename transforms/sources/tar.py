"""The members of a tar file, as a stream: headers only, nothing is extracted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from transforms.errors import ErrorClass, ImageError
from transforms.sources.container import ContainerLimits, ContainerStream

BLOCK = 512
REGULAR = (b"0", b"\x00", b"7")
"""Type flags of regular files, of which 7 is a contiguous one."""
_GNU_LONG_NAME, _PAX, _PAX_GLOBAL = b"L", b"x", b"g"
_NULS = bytes(BLOCK)


class TarEntry(NamedTuple):
    """A regular file in a tar file.

    Attributes:
      name: as it stands there, bytes that are no UTF-8 as surrogates.
      offset: of its first byte in the decompressed tar file.
      size: in bytes.
    """

    name: str
    offset: int
    size: int


def is_tar_header(block: bytes) -> bool:
    """Returns whether 512 bytes are a tar header: its checksum is right."""
    if len(block) < BLOCK or block[:BLOCK] == _NULS:
        return False
    try:
        stored = _number(block[148:156])
    except ValueError:
        return False
    return stored == sum(block[:148]) + 8 * 32 + sum(block[156:BLOCK])


def tar_entries(stream: ContainerStream, limits: ContainerLimits) -> Iterator[TarEntry]:
    """Yields the regular files; the caller may read an entry's bytes before it asks for the next.

    Raises:
      ImageError: the tar file is cut, broken or beyond its caps; what came before is right.
    """
    long_name, long_size = "", None
    count = 0
    while True:
        header = stream.read(BLOCK)
        if not header or header == _NULS:  # an end mark, or a file that simply stops
            return
        if not is_tar_header(header):
            raise ImageError(ErrorClass.CORRUPT, f"no tar header at byte {stream.position - BLOCK:,}")
        count += 1
        if count > limits.max_members:
            raise ImageError(ErrorClass.TOO_LARGE_BYTES, f"the container has more than {limits.max_members:,} members")
        kind, size = header[156:157], _size(header, stream.position)
        start = stream.position
        if kind in (_GNU_LONG_NAME, _PAX):
            text = _read_text(stream, size, limits)
            if kind == _PAX:
                pax_name, long_size = _pax(text)
                long_name = pax_name or long_name
            else:
                long_name = _decode(text.rstrip(b"\x00"))
        else:
            size = size if long_size is None else long_size
            name = long_name or _name(header)
            if kind in REGULAR and not name.endswith("/"):
                yield TarEntry(name, start, size)
            if kind != _PAX_GLOBAL:
                long_name, long_size = "", None
        stream.skip(start + _padded(size) - stream.position)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _read_text(stream: ContainerStream, size: int, limits: ContainerLimits) -> bytes:
    if size > limits.max_text_bytes:
        raise ImageError(ErrorClass.METADATA_BOMB, f"a tar header of {size:,} bytes")
    return stream.read(size)


def _name(header: bytes) -> str:
    name = header[:100].split(b"\x00", 1)[0]
    prefix = header[345:500].split(b"\x00", 1)[0] if header[257:263] == b"ustar\x00" else b""
    return _decode(prefix + b"/" + name if prefix else name)


def _decode(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _size(header: bytes, position: int) -> int:
    try:
        size = _number(header[124:136])
    except ValueError:
        size = -1
    if not 0 <= size < 2**62:
        raise ImageError(ErrorClass.CORRUPT, f"no size in the tar header at byte {position - BLOCK:,}")
    return size


def _number(field: bytes) -> int:
    """Reads an octal number, or GNU's base-256 one of large files."""
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big", signed=field[0] == 0xFF)
    return int(field.split(b"\x00", 1)[0].strip() or b"0", 8)


def _pax(text: bytes) -> tuple[str, int | None]:
    """Returns path and size of an extended header, where it gives them."""
    name, size = "", None
    while text:
        length_text, space, _ = text.partition(b" ")
        if not space or not length_text.isdigit() or len(length_text) > 9:
            break
        length = int(length_text)
        key, _, value = text[len(length_text) + 1 : length].rstrip(b"\n").partition(b"=")
        if key == b"path":
            name = _decode(value)
        elif key == b"size" and value.isdigit() and len(value) < 19:
            size = int(value)
        if length <= len(length_text):
            break
        text = text[length:]
    return name, size

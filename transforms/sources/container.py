"""What the containers share: a stream with caps, names of members, and the address of one."""

from __future__ import annotations

import dataclasses
import gzip
import io
import re
import zlib
from typing import Any, BinaryIO

from transforms.errors import ErrorClass, ImageError, OptionError
from transforms.files.filesystem import is_local, local_path, open_filesystem
from transforms.sources.folder import fingerprint_of
from transforms.sources.reference import ImageReference, Member

GZIP_MAGIC = b"\x1f\x8b"
BUFFER_BYTES = 1 << 20
SKIP_BYTES = 1 << 18

_UNSAFE = re.compile(r"[%#\x00-\x1f\x7f]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContainerLimits:
    """The caps on one container; what lies beyond becomes one dead letter.

    Attributes:
      max_members: entries of any kind.
      max_total_bytes: of all entries, decompressed.
      max_ratio: decompressed bytes for a compressed one, once ``free_bytes`` are exceeded.
      free_bytes: that may be decompressed at any ratio.
      max_text_bytes: of a member that is read while listing (a label, attributes, a long name).

    Raises:
      OptionError: when one of them is not positive.
    """

    max_members: int = 50_000_000
    max_total_bytes: int = 8 * 2**40
    max_ratio: float = 200.0
    free_bytes: int = 64 * 2**20
    max_text_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise OptionError(f"{name} must be positive, got {value}")


DEFAULT_CONTAINER_LIMITS = ContainerLimits()


class ContainerStream:
    """A container's bytes from the beginning, decompressed when it is gzip, with the caps held.

    Args:
      uri: of the container.
      limits: its caps.

    Attributes:
      position: bytes read or skipped so far, decompressed.
      size: of the file; None when it is compressed.
    """

    def __init__(self, uri: str, limits: ContainerLimits = DEFAULT_CONTAINER_LIMITS) -> None:
        self._raw, size = open_binary(uri)
        self._limits = limits
        compressed = self._raw.read(2) == GZIP_MAGIC
        self._raw.seek(0)
        self._stream: Any = gzip.GzipFile(fileobj=self._raw) if compressed else self._raw
        self.size = None if compressed else size
        self.position = 0

    def __enter__(self) -> ContainerStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._raw.close()

    @property
    def sequential(self) -> bool:
        """Whether the container can only be read from its beginning."""
        return self.size is None

    def read(self, size: int) -> bytes:
        """Returns exactly ``size`` bytes, or none at the very end.

        Raises:
          ImageError: TRUNCATED in the middle, CORRUPT when decompression fails, TOO_LARGE_BYTES beyond the caps.
        """
        data = self._read(size)
        if data and len(data) < size:
            raise ImageError(ErrorClass.TRUNCATED, f"the container ends at byte {self.position:,}", "EOFError")
        return data

    def skip(self, size: int) -> None:
        """Passes over bytes; raises as read does."""
        if self.size is not None:
            self.seek(self.position + size)
            return
        while size > 0:
            data = self.read(min(size, SKIP_BYTES))
            if not data:
                raise ImageError(ErrorClass.TRUNCATED, f"the container ends at byte {self.position:,}", "EOFError")
            size -= len(data)

    def seek(self, position: int) -> None:
        """Goes to a place; backwards in a compressed container means from its beginning.

        Raises:
          ImageError: TRUNCATED beyond the end.
        """
        if self.size is None and position >= self.position:
            self.skip(position - self.position)
            return
        if self.size is not None and position > self.size:
            raise ImageError(ErrorClass.TRUNCATED, f"the container ends at byte {self.size:,}", "EOFError")
        self._stream.seek(0 if self.size is None else position)
        self.position = 0 if self.size is None else position
        if self.size is None:
            self.skip(position)

    def _read(self, size: int) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except EOFError as error:
            raise ImageError(ErrorClass.TRUNCATED, f"the gzip stream is cut: {error}", "EOFError") from error
        except (zlib.error, gzip.BadGzipFile) as error:
            raise ImageError(ErrorClass.CORRUPT, f"the gzip stream is broken: {error}", type(error).__name__) from error
        except OSError as error:
            raise ImageError(ErrorClass.READ_ERROR, str(error), type(error).__name__) from error
        self.position += len(data)
        self._check_caps()
        return data

    def _check_caps(self) -> None:
        limits = self._limits
        if self.position > limits.max_total_bytes:
            message = f"the container holds more than {limits.max_total_bytes:,} bytes"
            raise ImageError(ErrorClass.TOO_LARGE_BYTES, message)
        if self.size is None and self.position > limits.free_bytes + limits.max_ratio * self._raw.tell():
            message = f"the container decompresses to more than {limits.max_ratio:g} times its size"
            raise ImageError(ErrorClass.TOO_LARGE_BYTES, message)


def open_binary(uri: str) -> tuple[BinaryIO, int]:
    """Opens a file for reading at any place; returns it and its size in bytes."""
    if is_local(uri):
        stream: Any = open(local_path(uri), "rb", buffering=BUFFER_BYTES)  # noqa: SIM115  the caller closes it
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        return stream, size
    filesystem, path = open_filesystem(uri)
    file = filesystem.open_input_file(path)
    return io.BufferedReader(file, BUFFER_BYTES), file.size()


class MemberList:
    """Makes the references of one container's members.

    Args:
      container: its address.
      form: what reads its members, a key of MEMBER_READERS.
      sequential: it can only be read from its beginning.
      column: the feature or column of the bytes.
    """

    def __init__(self, container: str, form: str, sequential: bool = False, column: str = "") -> None:
        self._container, self._form = container, form
        self._sequential, self._column = sequential, column
        self._fingerprint = fingerprint_of(container)
        self._count = 0

    def reference(self, name: str, offset: int, length: int, **fields: Any) -> ImageReference:
        """Returns the next member's reference; one whose name leads out of the container has a problem."""
        ordinal, self._count = self._count, self._count + 1
        uri, problem = member_uri(self._container, name)
        member = Member(self._container, self._form, ordinal, offset, length, self._column, self._sequential)
        fingerprint = f"{self._fingerprint}@{offset}+{length}" if self._fingerprint else ""
        reference = ImageReference(uri=uri, fingerprint=fingerprint, place=tuple(member), **fields)
        return reference.with_problem(*problem) if problem else reference

    def rest(self, error: ImageError) -> ImageReference:
        """Returns the one entry for all that cannot be listed behind a fault."""
        self._count += 1
        message = f"{error}; what lies behind image {self._count - 1} of {self._container} is not read"
        return ImageReference(uri=f"{self._container}#").with_problem(error.error_class, message)


def member_uri(container: str, name: str) -> tuple[str, tuple[ErrorClass, str] | None]:
    """Returns the address ``CONTAINER#MEMBER`` and, when it may not be read, why.

    In the member's name ``%``, ``#`` and control characters are percent-encoded, so that the last ``#`` divides.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return f"{container}#{_quote(shown)}", (ErrorClass.BAD_ROW, f"the member name {shown} is not UTF-8")
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:[\\/]", name):
        return f"{container}#{_quote(name)}", (ErrorClass.FORBIDDEN_URI, f"the member name {name!r} leads outside")
    if "\x00" in name:
        return f"{container}#{_quote(name)}", (ErrorClass.FORBIDDEN_URI, f"the member name {name!r} has a NUL")
    return f"{container}#{_quote('/'.join(part for part in parts if part not in ('', '.')))}", None


def _quote(name: str) -> str:
    return _UNSAFE.sub(lambda match: f"%{ord(match.group()):02X}", name)

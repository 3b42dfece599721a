"""Bytes of the images in containers: each container is opened once and read forward."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from transforms.errors import ErrorClass, HeliographError, ImageError
from transforms.files.filesystem import is_local
from transforms.sources.container import ContainerStream, open_binary
from transforms.sources.folder import fingerprint_of
from transforms.sources.hf_parquet import ParquetCursor
from transforms.sources.read import ATTEMPTS, PAUSE_SECONDS, check_below
from transforms.sources.reference import ImageReference, Member
from transforms.sources.tfrecord import read_record
from transforms.sources.zip_format import read_entry


class Cursor(Protocol):
    """An open container."""

    def read(self, member: Member) -> bytes:
        """Returns the bytes of a member; raises ImageError for that member."""
        ...

    def close(self) -> None:
        """Closes the container."""
        ...


class MemberReader:
    """Reads members in the order in which they were announced, whichever thread asks first.

    What a thread reads past, since another was faster, is kept for that other thread: as much as there are threads.

    Args:
      roots: local folders, links resolved; a container must lie below one of them.
      max_bytes: of one image.
    """

    def __init__(self, roots: Sequence[str], max_bytes: int) -> None:
        self._roots, self._max_bytes = roots, max_bytes
        self._lock = threading.Lock()
        self._announced: collections.deque[ImageReference] = collections.deque()
        self._kept: dict[tuple[object, ...], bytes | ImageError] = {}
        self._container = ""
        self._cursor: Cursor | ImageError | None = None

    def announce(self, reference: ImageReference) -> None:
        """Says that a member will be read next."""
        with self._lock:
            self._announced.append(reference)

    def read(self, reference: ImageReference) -> bytes:
        """Returns the bytes of a member that was announced.

        Raises:
          ImageError: the member, or its whole container, cannot be read.
        """
        with self._lock:
            while reference.place not in self._kept and self._announced:
                ahead = self._announced.popleft()
                self._kept[ahead.place] = self._read(ahead)
            outcome = self._kept.pop(reference.place, None)
        if outcome is None:
            raise ImageError(ErrorClass.READ_ERROR, f"{reference.uri} was not announced or is read already")
        if isinstance(outcome, ImageError):
            raise outcome
        return outcome

    def close(self) -> None:
        """Closes the container that is open and forgets what was announced."""
        if self._lock.acquire(timeout=1.0):  # a thread that hangs in a read keeps it
            self._close_cursor()
            self._announced.clear()
            self._kept.clear()
            self._lock.release()

    def _read(self, reference: ImageReference) -> bytes | ImageError:
        member = Member(*reference.place)
        outcome: bytes | ImageError = b""
        for attempt in range(ATTEMPTS):
            outcome = self._read_once(member, reference.fingerprint)
            failed = isinstance(outcome, ImageError) and outcome.error_class is ErrorClass.READ_ERROR
            if not failed or isinstance(self._cursor, ImageError):
                break
            self._close_cursor()
            time.sleep(PAUSE_SECONDS * 2**attempt)
        return outcome

    def _read_once(self, member: Member, fingerprint: str) -> bytes | ImageError:
        try:
            cursor = self._open(member, fingerprint)
            return cursor if isinstance(cursor, ImageError) else cursor.read(member)
        except ImageError as error:
            return error
        except (OSError, ValueError, HeliographError) as error:
            return ImageError(ErrorClass.READ_ERROR, str(error), type(error).__name__)

    def _open(self, member: Member, fingerprint: str) -> Cursor | ImageError:
        if member.container != self._container or self._cursor is None:
            self._close_cursor()
            self._container = member.container
            try:
                self._check(member, fingerprint)
                self._cursor = MEMBER_READERS[member.form](member.container, self._max_bytes)
            except ImageError as error:
                self._cursor = error
            except FileNotFoundError:
                message = f"{member.container} does not exist"
                self._cursor = ImageError(ErrorClass.NOT_FOUND, message, "FileNotFoundError")
        return self._cursor

    def _check(self, member: Member, fingerprint: str) -> None:
        if is_local(member.container):
            check_below(member.container, self._roots)
        now = fingerprint_of(member.container)
        if now and fingerprint and not fingerprint.startswith(f"{now}@"):
            message = f"{member.container} has changed since it was listed; run again"
            raise ImageError(ErrorClass.READ_ERROR, message)

    def _close_cursor(self) -> None:
        if self._cursor is not None and not isinstance(self._cursor, ImageError):
            self._cursor.close()
        self._cursor = None


class _StreamCursor:
    """Members that are a range of bytes, or a record, of a stream."""

    def __init__(self, uri: str, max_bytes: int) -> None:
        self._stream = ContainerStream(uri)
        self._max_bytes = max_bytes

    def close(self) -> None:
        self._stream.__exit__()


class _TarCursor(_StreamCursor):
    def read(self, member: Member) -> bytes:
        if member.length > self._max_bytes:
            message = f"the member has {member.length:,} bytes, more than the {self._max_bytes:,} that are read"
            raise ImageError(ErrorClass.TOO_LARGE_BYTES, message)
        self._stream.seek(member.offset)
        data = self._stream.read(member.length)
        if len(data) < member.length:
            raise ImageError(ErrorClass.TRUNCATED, "the member is cut", "EOFError")
        return data


class _RecordCursor(_StreamCursor):
    def read(self, member: Member) -> bytes:
        return read_record(self._stream, member, self._max_bytes)


class _ZipCursor:
    def __init__(self, uri: str, max_bytes: int) -> None:
        self._stream, _ = open_binary(uri)
        self._max_bytes = max_bytes

    def read(self, member: Member) -> bytes:
        return read_entry(self._stream, member.offset, self._max_bytes)

    def close(self) -> None:
        self._stream.close()


MEMBER_READERS: dict[str, Callable[[str, int], Cursor]] = {
    "webdataset": _TarCursor,
    "tfrecord": _RecordCursor,
    "zip": _ZipCursor,
    "hf-parquet": ParquetCursor,
}
"""Form of a container to what opens it, given its address and the most bytes of an image."""

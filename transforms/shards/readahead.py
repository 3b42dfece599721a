"""Files are read ahead of their decoding, many at once, so that a slow store is not waited for."""

from __future__ import annotations

import collections
import concurrent.futures
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

from transforms.machine.cores import usable_cores
from transforms.sources.members import MemberReader
from transforms.sources.read import read_image
from transforms.sources.reference import ImageReference

BYTES_AHEAD = 64 << 20
"""Of files that are read and not yet decoded."""

READS_PER_CORE = 32
"""Reads at once: with 50 ms for each file, 640 files a second for a core, which is more than it decodes."""
MAX_READS = 512
FIRST_GUESS = 1 << 20
"""Of a file's size, before one is read."""


class BegunFile:
    """A file that is being read, or is read; it counts as held until ``close``.

    Args:
      reference: to the image.
      held: where its bytes are counted.
    """

    def __init__(self, reference: ImageReference, held: HeldBytes) -> None:
        self.reference = reference
        self._held, self._size = held, held.begin()
        self.future: concurrent.futures.Future[tuple[bytes, float]] | None = None

    def wait(self) -> tuple[bytes, float]:
        """Returns the bytes, and the seconds that reading took.

        Raises:
          ImageError: it cannot be read.
        """
        assert self.future is not None, "an entry with a problem is not read"
        return self.future.result()

    def resize(self, size: int) -> None:
        """Says how many bytes it has."""
        self._held.resize(self._size, size)
        self._size = size

    def close(self) -> None:
        """Lets the bytes go."""
        self.future = None
        self._held.end(self._size)
        self._size = 0

    def give_up(self) -> None:
        """Closes once nobody reads it any more."""
        if self.future is None:
            self.close()
        else:
            self.future.cancel()
            self.future.add_done_callback(lambda _: self.close())


class HeldBytes:
    """Counts the bytes of files from their reading to their decoding; unread ones with the mean size so far."""

    def __init__(self) -> None:
        self.now = 0
        self._total, self._files = 0, 0
        self._lock = threading.Lock()

    def begin(self) -> int:
        """Sets bytes aside for a file whose size nobody knows, and returns how many."""
        with self._lock:
            size = self._total // self._files if self._files else FIRST_GUESS
            self.now += size
        return size

    def resize(self, guessed: int, size: int) -> None:
        """Says what size a file has."""
        with self._lock:
            self.now += size - guessed
            self._total, self._files = self._total + size, self._files + 1

    def end(self, size: int) -> None:
        """Says that a file's bytes are gone."""
        with self._lock:
            self.now -= size


class Readahead:
    """Begins to read files in the order of their references.

    Files of their own are read many at once. Members of containers are read one after the other, since a container
    is read forward.

    Args:
      roots: local folders below which files must lie.
      max_bytes: of one image.
      bytes_ahead: of files that are read, or begun to be, and not closed yet.
    """

    def __init__(self, roots: Sequence[str], max_bytes: int, bytes_ahead: int = BYTES_AHEAD) -> None:
        self._roots, self._max_bytes, self._bytes_ahead = roots, max_bytes, bytes_ahead
        self._reads = min(MAX_READS, READS_PER_CORE * usable_cores())
        self._members = MemberReader(roots, max_bytes)
        self._held = HeldBytes()
        self._new_pools()

    @property
    def has_room(self) -> bool:
        """Whether fewer than ``bytes_ahead`` are held."""
        return self._held.now < self._bytes_ahead

    def read(self, references: Iterable[ImageReference]) -> Iterator[BegunFile]:
        """Yields the references in order, each begun to be read, and begins further ones while there is room.

        Whoever stops early gets none of what was begun ahead, and it no longer counts as held.
        """
        remaining = iter(references)
        ahead: collections.deque[BegunFile] = collections.deque()
        try:
            while True:
                while not ahead or (len(ahead) < self._reads and self.has_room):
                    reference = next(remaining, None)
                    if reference is None:
                        break
                    ahead.append(self._begin(reference))
                if not ahead:
                    return
                yield ahead.popleft()
        finally:
            for file in ahead:
                file.give_up()

    def close(self) -> None:
        """Lets the threads go."""
        for pool in (self._pool, self._forward):
            pool.shutdown(wait=False, cancel_futures=True)
        self._members.close()

    def replace_stuck_threads(self) -> None:
        """Leaves threads that may hang to themselves."""
        for pool in (self._pool, self._forward):
            pool.shutdown(wait=False)
        self._new_pools()

    def _new_pools(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(self._reads, thread_name_prefix="read")
        self._forward = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="read-members")

    def _begin(self, reference: ImageReference) -> BegunFile:
        file = BegunFile(reference, self._held)
        if reference.problem:
            return file
        if reference.place:
            self._members.announce(reference)
        file.future = (self._forward if reference.place else self._pool).submit(self._read, file)
        return file

    def _read(self, file: BegunFile) -> tuple[bytes, float]:
        started, reference = time.perf_counter(), file.reference
        if reference.place:
            data = self._members.read(reference)
        else:
            data = read_image(reference.uri, self._roots, self._max_bytes)
        file.resize(len(data))
        return data, time.perf_counter() - started

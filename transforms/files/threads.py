"""Threads for what waits: the same for many files at once, and the next item while one is worked on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

THREADS = 8
"""That work on files: what takes a round trip each on an object store."""

_AT_ONCE = 16
"""Items a thread that are handed over: those of a million files would take 36 kB each until the last is done."""


def map_in_threads(
    function: Callable[[Item], Outcome], items: Sequence[Item], threads: int = THREADS
) -> Iterator[Outcome]:
    """Yields what the function makes of each item, in order; raises what it raises."""
    some = threads * _AT_ONCE
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), some):
            yield from pool.map(function, items[start : start + some])


def read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yields the items; a thread makes the next one meanwhile. Raises what making it raises."""

    def take() -> list[Item]:
        return list(itertools.islice(items, 1))

    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        following = pool.submit(take)
        while taken := following.result():
            following = pool.submit(take)
            yield from taken

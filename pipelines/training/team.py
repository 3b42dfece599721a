"""Threads that share the parts of one computation: numpy lets go of the interpreter while it computes."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from transforms.machine.cores import usable_cores

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


class Team:
    """As many threads as ``size``, by default as there are cores, the caller's among them.

    Each computes its matrix products alone, in a team of one with as many threads as numpy has.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size or usable_cores()

    def __enter__(self) -> Team:
        self._stack = contextlib.ExitStack()
        if self.size > 1:
            self._stack.enter_context(threadpool_limits(1, user_api="blas"))
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self.size - 1))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def map(self, function: Callable[[_Part], _Result], parts: Iterable[_Part]) -> list[_Result]:
        """Returns the result of each part, in their order; whoever is free takes the next one."""
        waiting = deque(enumerate(parts))
        results = dict[int, _Result]()

        def work() -> None:
            while True:
                try:
                    place, part = waiting.popleft()
                except IndexError:  # nothing is left
                    return
                results[place] = function(part)

        others = [self._pool.submit(work) for _ in range(min(self.size, len(waiting)) - 1)]
        work()
        for other in others:
            other.result()
        return [results[place] for place in sorted(results)]

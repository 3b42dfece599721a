from __future__ import annotations

import threading
import time

import pytest

from transforms.files import threads
from transforms.files.threads import map_in_threads


def test_all_come_in_order_and_several_at_once() -> None:
    meeting = threads.THREADS
    barrier = threading.Barrier(meeting, timeout=10)

    def together(number: int) -> int:
        barrier.wait()
        return number * number

    count = meeting * threads._AT_ONCE + meeting
    assert list(map_in_threads(together, range(count))) == [number * number for number in range(count)]
    assert list(map_in_threads(together, [])) == []


def test_only_some_are_handed_over_before_somebody_asks() -> None:
    started: list[int] = []
    outcomes = map_in_threads(started.append, range(10_000), threads=2)
    next(outcomes)
    time.sleep(0.05)
    assert len(started) == 2 * threads._AT_ONCE
    outcomes.close()


def test_a_failure_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda number: 1 // number, [1, 0]))

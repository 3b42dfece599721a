from __future__ import annotations

import pytest

from transforms.shards.tuning import Tuning, Way, ways_to_try

MEGABYTE = 1e6


def work(tuning: Tuning, seconds: dict[Way, float], turns: int = 1000) -> int:
    """Does turns until the way is settled; returns how many images that took."""
    images = 0
    for _ in range(turns):
        if tuning.settled:
            break
        way = tuning.way
        images += way.images
        tuning.add(way, way.images, way.images, seconds[way] * way.images)
    return images


SLOW, FAST = Way(2, 8), Way(2, 32)


def test_the_fastest_way_is_kept() -> None:
    usual = Way(2, 16)
    tuning = Tuning([usual, FAST, SLOW])
    assert tuning.way == usual
    assert work(tuning, {usual: 0.010, FAST: 0.009, SLOW: 0.011}) == 2 * (4 * 2) * (16 + 32 + 8)
    assert (tuning.settled, tuning.way) == (True, FAST)
    tuning.add(SLOW, 8, 8, 0.0)
    assert tuning.way == FAST


def test_what_may_be_chance_changes_nothing() -> None:
    usual = Way(2, 16)
    tuning = Tuning([usual, FAST])
    work(tuning, {usual: 0.0100, FAST: 0.0098})
    assert (tuning.settled, tuning.way) == (True, usual)


def test_fewer_threads_are_kept_where_they_do_more_together() -> None:
    many, few = Way(64, 16), Way(32, 16)
    tuning = Tuning([many, few])
    work(tuning, {many: 0.020, few: 0.009}, 10_000)
    assert tuning.way == few


def test_short_turns_say_nothing() -> None:
    tuning = Tuning([Way(2, 16), FAST])
    for _ in range(1000):
        tuning.add(tuning.way, 3, 3, 0.1)
    assert (tuning.settled, tuning.way) == (False, Way(2, 16))


def test_images_that_fail_or_are_known_are_no_sign_of_speed() -> None:
    usual, few = Way(64, 16), Way(32, 16)
    tuning = Tuning([usual, few])
    while not tuning.settled:
        tuning.add(tuning.way, 16, 16 if tuning.way == usual else 15, 16 * (0.02 if tuning.way == usual else 0.001))
    assert tuning.way == usual
    tuning = Tuning([usual, few])
    while not tuning.settled:
        tuning.add(tuning.way, 16, 15, 0.0)
    assert tuning.way == usual


def test_one_way_is_not_tried() -> None:
    assert Tuning([FAST]).settled


@pytest.mark.parametrize(
    ("threads", "images", "memory", "network", "expected"),
    [
        ([2, 2], (16, 32), 1e9, 36, [Way(2, 16), Way(2, 32)]),
        ([64, 32], (16,), 16e9, 36, [Way(55, 16), Way(32, 16)]),  # 2 GB for the networks
        ([64, 32], (16,), 16e9, 0, [Way(64, 16), Way(32, 16)]),
        ([64], (16, 8), 2e9, 0, [Way(64, 8)]),  # 250 MB for 1,024 images of 0.15 MB
        ([4], (16, 8), 0.1e9, 36, [Way(1, 16), Way(1, 8)]),
        ([4], (16,), 1e6, 36, [Way(1, 1)]),
    ],
)
def test_memory_bounds_what_is_tried(
    threads: list[int], images: tuple[int, ...], memory: float, network: float, expected: list[Way]
) -> None:
    assert ways_to_try(threads, images, memory, 224 * 224 * 3, int(network * MEGABYTE)) == expected

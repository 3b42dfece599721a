from __future__ import annotations

import dataclasses

import pytest

from pipelines.scaling import COMMIT_SECONDS, LIST_SECONDS, Fleet, Job, estimate

MILLION = Job(images=1_000_000, images_per_core_second=100, variation=0.0)


def fleet(workers: int, cores: int = 1) -> Fleet:
    return Fleet(workers=workers, cores=cores, start_seconds=60)


def test_one_worker_takes_the_sum_of_all_shards() -> None:
    found = estimate(MILLION, fleet(1))
    assert found["phases"]["embed"] == pytest.approx(10_000, rel=0.01)
    assert found["tail_seconds"] == 0
    assert found["phases"]["list"] == 1_000_000 * LIST_SECONDS
    assert found["phases"]["commit"] == pytest.approx(1000 * COMMIT_SECONDS)


def test_work_that_does_not_divide_leaves_a_tail() -> None:
    """1,000 shards of 10 s on 300 workers: three rounds, and a fourth for a hundred of them."""
    found = estimate(MILLION, fleet(300))
    assert 40 < found["phases"]["embed"] < 44
    assert 9 < found["tail_seconds"] < 12


def test_more_workers_than_shards_wait_from_the_beginning() -> None:
    found = estimate(MILLION, fleet(3000))
    assert 10 <= found["phases"]["embed"] == found["tail_seconds"] < 13
    assert found["worker_hours"] == pytest.approx(3000 * found["seconds"] / 3600, rel=0.001)


def test_only_listings_side_by_side_list_faster() -> None:
    assert estimate(MILLION, fleet(100))["phases"]["list"] == 1_000_000 * LIST_SECONDS
    many = Job(images=1_000_000, images_per_core_second=100, listings=10)
    assert estimate(many, fleet(100))["phases"]["list"] == pytest.approx(1_000_000 * LIST_SECONDS / 10)


def test_round_trips_are_shared_by_threads_and_a_plan_s_by_workers() -> None:
    """1,000 shards with five round trips each, by eight threads; 62 ranges in 16 runs, by sixteen on each worker."""
    remote = dataclasses.replace(MILLION, round_trip=0.08)
    here, there = (estimate(job, fleet(4))["phases"] for job in (MILLION, remote))
    assert there["commit"] - here["commit"] == pytest.approx(1000 * 5 * 0.08 / 8, abs=0.1)
    assert remote.plan_reads == 62 * 16
    assert there["plan"] - here["plan"] == pytest.approx(62 * 16 * 0.08 / 16 / 4, abs=0.1)
    assert Job(images=10**9, images_per_core_second=1).plan_reads == 15_259 * 1000


def test_a_billion_images_are_estimated_at_once_and_their_bytes_grow_with_them() -> None:
    billion = Job(images=10**9, images_per_core_second=100)
    assert estimate(billion, fleet(1000, 4))["phases"]["embed"] == pytest.approx(2500, rel=0.05)
    small = MILLION.bytes()
    assert {name: value / small[name] for name, value in billion.bytes().items()} == pytest.approx(
        dict.fromkeys(small, 1000), rel=0.05
    )
    assert small["store"] == 1_000_000 * (1280 * 4 + 61)

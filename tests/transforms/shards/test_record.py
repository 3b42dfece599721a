from __future__ import annotations

import time
from pathlib import Path

import pytest

from transforms.commit_parts import CommitOptions
from transforms.shards import work
from transforms.shards.record import cost_of_work
from transforms.shards.shard import ShardResult
from transforms.shards.work import ShardWork
from transforms.shards.workspace import Heartbeat, Workspace


class Nothing:
    """A sink of no rows."""

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *_: object) -> None: ...

    def write(self, _batch: object) -> list[str]:
        return []

    def files(self) -> dict[str, str]:
        return {}


def shard_work(root: Path, run_id: str = "run") -> ShardWork:
    workspace = Workspace(root=str(root))
    return ShardWork(workspace=workspace, heartbeat=Heartbeat(workspace, run_id), run_id=run_id, cores=4)


def test_core_seconds_begin_when_a_shard_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter((100.0, 107.0, 200.0, 201.0))
    monkeypatch.setattr(work.time, "perf_counter", lambda: next(moments))
    working = shard_work(tmp_path)
    assert working.resume("0" * 24, 0) is None  # and then the network is loaded
    assert working.do("0" * 24, [], Nothing()).core_seconds == 7 * 4
    assert working.do("1" * 24, [], Nothing()).core_seconds == 1 * 4, "one that could not be resumed"


def test_core_seconds_of_a_shard_that_may_have_changed_begin_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter((100.0, 101.0, 200.0, 207.0))
    monkeypatch.setattr(work.time, "perf_counter", lambda: next(moments))
    working = shard_work(tmp_path)
    assert working.do("0" * 24, [], Nothing()).core_seconds == 1 * 4
    assert working.resume("0" * 24, 0, unchanged=False) is None, "finished, but perhaps of other files"
    assert working.do("1" * 24, [], Nothing()).core_seconds == 7 * 4


@pytest.mark.parametrize(("unchanged", "counts"), [(True, "first"), (False, "second")])
def test_a_shard_that_may_have_changed_is_done_anew(tmp_path: Path, unchanged: bool, counts: str) -> None:
    assert shard_work(tmp_path, "first").do("0" * 24, [], Nothing()).run_id == "first"
    working = shard_work(tmp_path, "second")
    found = working.resume("0" * 24, 0, unchanged)
    assert (found or working.do("0" * 24, [], Nothing())).run_id == counts


def result(core_seconds: float, encoded: int, resumed: bool) -> ShardResult:
    return ShardResult(
        name="0" * 24, run_id="r", files={}, rows=0, sizes={}, encoded=encoded, copied=0, failures={},
        failure_example="", classes={}, replaced=0, stage_seconds={}, peak_memory_mb=0.0, core_seconds=core_seconds,
        lanes={"cores": 4, "decode_threads": 4, "images_at_once": 32}, resumed=resumed,
    )  # fmt: skip


def test_what_an_earlier_run_did_costs_nothing_again() -> None:
    results = [result(100.0, 400, resumed=False), result(900.0, 600, resumed=True)]
    options = CommitOptions(
        run_id="r", started_at=time.time(), max_failures="1", configuration={}, price_per_core_hour=0.036
    )
    record = options.summarise(results, {"listed": 1000}, "embedded")
    figures = {"core_seconds": 100.0, "images_per_core_second": 4.0, "price_per_core_hour": 0.036, "cost": 0.001}
    assert {name: record[name] for name in figures} == figures
    assert record["images_per_dollar"] == 400_000
    assert record["lanes"] == [{"cores": 4, "decode_threads": 4, "images_at_once": 32, "shards": 1}]


def test_without_a_price_there_is_no_cost_and_without_work_no_rate() -> None:
    assert cost_of_work(8.0, 4, None) == {"core_seconds": 8.0, "images_per_core_second": 0.5}
    assert cost_of_work(0.0, 0, None) == {"core_seconds": 0.0}
    assert cost_of_work(0.0, 0, 1.0) == {"core_seconds": 0.0, "price_per_core_hour": 1.0, "cost": 0.0}

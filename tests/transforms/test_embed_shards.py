"""One network a process: whatever a runner makes of threads and copies of a DoFn."""

from __future__ import annotations

import functools
import pickle
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipelines import embed
from tests.photographs import write_folder
from transforms.embed_shards import OneAProcess
from transforms.shards import embedder, work
from transforms.shards.tuning import Way
from transforms.shards.work import cores_of_process


class Counting:
    """A worker that counts how many there are, and how many work at once."""

    made: ClassVar[list[Counting]] = []

    def __init__(self, name: str) -> None:
        self.name, self.at_once, self.most, self.closed = name, 0, 0, 0
        self.made.append(self)

    def work(self) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        time.sleep(0.01)
        self.at_once -= 1

    def close(self) -> None:
        self.closed += 1


class Step(OneAProcess[Counting]):
    def process(self, shard: str) -> Iterator[str]:
        with self._turns.take() as worker:
            worker.work()
        yield shard


def test_copies_in_many_threads_share_one_worker_and_take_turns() -> None:
    Counting.made.clear()
    bytes_of_step = pickle.dumps(Step(functools.partial(Counting, "a")))
    everybody = threading.Barrier(4)

    def bundle(_: int) -> None:
        step = pickle.loads(bytes_of_step)
        step.setup()
        everybody.wait()
        for shard in "xyz":
            assert list(step.process(shard)) == [shard]
        everybody.wait()
        step.teardown()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bundle, range(4)))
    (worker,) = Counting.made
    assert (worker.name, worker.most, worker.closed) == ("a", 1, 1)


def test_another_graph_has_a_worker_of_its_own() -> None:
    Counting.made.clear()
    for name in "ab":
        step = pickle.loads(pickle.dumps(Step(functools.partial(Counting, name))))
        step.setup()
        list(step.process("x"))
        step.teardown()
    assert [(worker.name, worker.closed) for worker in Counting.made] == [("a", 1), ("b", 1)]


def test_a_run_in_several_threads_loads_one_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = embedder.ShardEmbedder._load_lane
    monkeypatch.setattr(embedder.ShardEmbedder, "_load_lane", lambda *args: loaded.append(0) or load(*args))
    threads = ["--direct_running_mode=multi_threading", "--direct_num_workers=4"]
    photos = write_folder(tmp_path / "photos", per_label=20)
    arguments = ["--input", str(photos), "--store", str(tmp_path / "store"), "--shard-size", "5", "--no-report"]
    assert embed.main([*arguments, "--json", *threads]) == 0
    assert '"embedded": 40' in capsys.readouterr().out
    assert len(loaded) == 1


@pytest.mark.parametrize(("processes", "cores"), [(1, 8), (2, 4), (3, 2), (8, 1), (16, 1), (0, 1)])
def test_processes_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch, processes: int, cores: int) -> None:
    monkeypatch.setattr(work, "usable_cores", lambda: 8)
    assert cores_of_process(processes) == cores


def test_the_network_and_the_decoders_have_the_share_of_their_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int | None, int]] = []
    load, lane = embedder.load_encoder, embedder.Lane

    def load_and_tell(*arguments: Any, threads: int | None = None, **others: Any) -> Any:
        seen.append((threads, 0))
        return load(*arguments, threads=threads, **others)

    def lane_and_tell(*, ways: Sequence[Way], **others: Any) -> Any:
        seen.append((None, ways[0].threads))
        return lane(ways=ways, **others)

    monkeypatch.setattr(work, "usable_cores", lambda: 8)
    monkeypatch.setattr(embedder, "load_encoder", load_and_tell)
    monkeypatch.setattr(embedder, "Lane", lane_and_tell)
    photos = write_folder(tmp_path / "photos", per_label=1)
    arguments = ["--input", str(photos), "--store", str(tmp_path / "store"), "--no-report"]
    assert embed.main([*arguments, "--sdk_worker_parallelism=4"]) == 0
    assert seen == [(2, 0), (None, 2)]

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.transforms.shards.test_shard import result
from transforms.shards.workspace import Heartbeat, Progress, Workspace


def write_part(root: Path, content: bytes = b"part") -> None:
    (root / "data").mkdir(exist_ok=True)
    (root / "data" / "part.parquet").write_bytes(content)


def test_a_finished_shard_is_found_as_resumed(tmp_path: Path) -> None:
    workspace = Workspace(root=str(tmp_path))
    write_part(tmp_path)
    assert workspace.find(result().name) is None
    workspace.finish(result())
    assert workspace.find(result().name) == dataclasses.replace(result(), resumed=True)
    assert workspace.find(result().name, run_id="run") == result(), "the same run again: nothing was resumed"
    workspace.forget([result().name, "f" * 24])
    assert workspace.find(result().name) is None


def test_a_marker_without_its_whole_part_counts_for_nothing(tmp_path: Path) -> None:
    workspace = Workspace(root=str(tmp_path))
    workspace.finish(result())
    assert workspace.find(result().name) is None
    write_part(tmp_path, b"cut")
    assert workspace.find(result().name) is None
    write_part(tmp_path)
    assert workspace.find(result().name) is not None
    (tmp_path / "_work" / "shards" / f"{result().name}.json").write_text("{")
    assert workspace.find(result().name) is None


def test_attempts_have_different_names() -> None:
    workspace = Workspace(root="/x")
    assert workspace.attempt_name("s") != workspace.attempt_name("s")


def test_heartbeats_of_all_workers_add_up(tmp_path: Path) -> None:
    workspace = Workspace(root=str(tmp_path))
    assert workspace.read_progress("run") == Progress()
    first, second = Heartbeat(workspace, "run"), Heartbeat(workspace, "run")
    first.add(planned=10, now=True)
    second.add(done=3, failed=1)
    second.add(done=2, resumed=2, now=True)
    Heartbeat(workspace, "other").add(done=100, now=True)
    (tmp_path / "_work" / "progress" / "run" / "odd").write_text("{")
    (tmp_path / "_work" / "progress" / "run" / ".next.tmp").write_text("[10, 5, 1, 2]")
    assert workspace.read_progress("run") == Progress(planned=10, done=5, failed=1, resumed=2)
    workspace.clear_progress("run")
    assert workspace.read_progress("run") == Progress()


def test_of_two_attempts_the_first_one_counts(tmp_path: Path) -> None:
    workspace = Workspace(root=str(tmp_path))
    first, second = (dataclasses.replace(result(), files={}, sizes={}, rows=rows) for rows in (1, 2))
    assert workspace.finish(first) == first
    assert workspace.finish(second) == first


def test_a_marker_that_is_not_believed_is_replaced(tmp_path: Path) -> None:
    workspace = Workspace(root=str(tmp_path))
    gone = dataclasses.replace(result(), files={"data": "data/gone.parquet"}, sizes={"data": 1})
    again = dataclasses.replace(result(), files={}, sizes={})
    assert workspace.finish(gone) == gone
    assert workspace.finish(again) == again
    assert workspace.find(again.name, again.run_id) == again

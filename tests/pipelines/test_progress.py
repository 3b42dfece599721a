from __future__ import annotations

import io
from pathlib import Path

from pipelines.progress import ProgressLine
from transforms.shards.workspace import Heartbeat, Progress, Workspace


def test_what_was_done_stays_done_when_the_heartbeats_are_gone(tmp_path: Path) -> None:
    workspace = Workspace(root=str(tmp_path))
    line = ProgressLine("embedding", workspace, "run", io.StringIO())
    Heartbeat(workspace, "run").add(planned=4, now=True)
    Heartbeat(workspace, "run").add(done=3, failed=1, now=True)
    line.update()
    assert line.latest == Progress(planned=4, done=3, failed=1)
    workspace.clear_progress("run")
    line.update()
    assert line.latest == Progress(planned=4, done=3, failed=1)
    assert "3 of 4 images" in line.interrupted()

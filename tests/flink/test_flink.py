"""The same job on Flink: a cluster whose processes are killed, and Flink inside Beam's job server.

``make test-flink`` fetches what is needed and names it in ``HELIOGRAPH_FLINK``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import demo, embed
from pipelines.same_answer.compare import Row, row_differences
from tests.flink.cluster import Cluster, running
from transforms.store import open_features

HOME = os.environ.get("HELIOGRAPH_FLINK", "")
pytestmark = pytest.mark.skipif(not HOME, reason="make test-flink")

CELLS = 1200
TIMEOUT = 420
RUN_COLUMNS = ("event_timestamp", "created", "run_id")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(Path(HOME)) as started:
        yield started


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags of a manifest of photographs of solar cells."""
    found = demo.read_cells(demo.data_directory())[:CELLS]
    manifest = tmp_path_factory.mktemp("cells") / "cells.csv"
    demo.write_manifest(manifest, found, demo.split_cells(found))
    return ["--input", str(manifest), "--input-root", str(demo.data_directory())]


@pytest.fixture(scope="module")
def expected(cells: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The rows of a local run."""
    store = tmp_path_factory.mktemp("reference")
    assert embed.main([*cells, "--store", str(store), "--no-report"]) == 0
    return rows(store)


def rows(store: Path) -> list[Row]:
    return [row for batch in open_features(str(store)).batches() for row in batch.to_pylist()]


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines.cli", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str], cluster: Cluster) -> tuple[int, str, str]:
    """Waits for a command; one that hangs is killed, and the test fails with the logs."""
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"{process.args} hangs\n{cluster.logs()}")
    return process.returncode, out, err


def conform(cluster: Cluster, flags: list[str], directory: Path) -> None:
    words = ["conformance", "--directory", str(directory), "--images", "30", "--json"]
    status, out, err = end(start(*words, *flags), cluster)
    assert status == 0, f"{out}\n{err}\n{cluster.logs()}"
    assert {check["verdict"] for check in json.loads(out)["checks"]} == {"same"}, "counters as well"


def test_the_cluster_conforms(cluster: Cluster, tmp_path: Path) -> None:
    conform(cluster, cluster.flags, tmp_path)
    assert len(cluster.task_managers()) == 2


def test_flink_inside_the_job_server_conforms(tmp_path: Path) -> None:
    with running(Path(HOME), master="[local]") as embedded:
        conform(embedded, embedded.loopback_flags, tmp_path)


def lose_task_manager(cluster: Cluster) -> None:
    cluster.kill("task-manager-0")
    time.sleep(2)
    cluster.start_task_manager(0)


def lose_pool(cluster: Cluster) -> None:
    cluster.kill("pool-1")
    time.sleep(2)
    cluster.start_pool(1)


@pytest.mark.parametrize("lose", [lose_task_manager, lose_pool])
def test_a_process_that_is_killed_costs_no_image(
    lose: Callable[[Cluster], None], cluster: Cluster, cells: list[str], expected: list[Row], tmp_path: Path
) -> None:
    """The job recovers, or fails; the next run does what is left, and each image is there once."""
    words = ["embed", *cells, "--store", str(tmp_path), "--no-report", "--shard-size", "20", "--json", *cluster.flags]
    first = start(*words)
    wait_for_shards(tmp_path, 5, first)
    lose(cluster)
    status, out, err = end(first, cluster)
    print(f"{lose.__name__}: exit status {status}")
    assert status in (0, 1), err
    if status == 1:
        assert err.splitlines()[-1].startswith("heliograph: the run failed"), err
        assert "Traceback" not in err.splitlines()[-1]
    else:
        assert counted(json.loads(out)) == (CELLS, 0)
    status, out, err = end(start(*words), cluster)
    assert status == 0, f"{err}\n{cluster.logs()}"
    record = json.loads(out)
    assert record["embedded"] + record["reused"] == CELLS
    close = {"embedding": 1e-5}
    assert not list(row_differences(expected, rows(tmp_path), key="image_uri", ignored=RUN_COLUMNS, close=close))


def counted(record: dict[str, Any]) -> tuple[int, int]:
    return record["embedded"], record["failed"]


def wait_for_shards(store: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Waits until so many shards are done, at most as long as a job may take."""
    latest = time.monotonic() + TIMEOUT
    while len(list(store.glob("*/_work/shards/*.json"))) < count:
        assert process.poll() is None, f"it ended before it could be disturbed\n{process.communicate()}"
        if time.monotonic() > latest:
            process.kill()
            pytest.fail(f"fewer than {count} shards after {TIMEOUT} s")
        time.sleep(0.02)

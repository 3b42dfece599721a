"""Dataflow, as far as it goes without an account: submitted, staged, and executed on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from pipelines import conformance, embed
from tests.dataflow import DONE, ROOT, Dataflow, execute, serve
from tests.dataflow_worker import read
from tests.emulators import emulator, put
from tests.photographs import LABELS, draw, encoded
from transforms.store.reader import open_features

auth = pytest.importorskip("apache_beam.internal.gcp.auth", reason="pip install 'heliograph[gcp]'")
pytest.importorskip("google.cloud.dataflow", reason="pip install 'heliograph[gcp]'")
pytestmark = pytest.mark.slow

IMAGE = "images.example/heliograph-worker:1"
SETUP_FILE = f"--setup_file={ROOT}/setup.py"
IN_IMAGE = {"PYTHONPATH": str(ROOT)}
"""Environment of workers whose image has the project inside; others find it in the staged package alone."""


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of a bucket with 20 photographs and something that is none."""
    from apache_beam.runners.dataflow import dataflow_runner

    hasty = types.SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(min(seconds, 0.1)))
    with pytest.MonkeyPatch.context() as patch, emulator("gs") as environment:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(auth._Credentials, "_credentials_init", True)  # else it looks for them for 20 s
        patch.setattr(dataflow_runner, "time", hasty)
        for label in LABELS:
            for number in range(10):
                put(f"{environment['ADDRESS']}/photos/{label}/{number}.jpg", encoded(draw(label, number)))
        put(f"{environment['ADDRESS']}/photos/disc/bad.jpg", b"x")
        yield environment["ADDRESS"]


def rows(store: str) -> list[dict[str, Any]]:
    found = [row for batch in open_features(store).batches() for row in batch.to_pylist()]
    for row in found:
        del row["event_timestamp"], row["created"], row["run_id"]
    return sorted(found, key=lambda row: str(row["image_uri"]))


@pytest.fixture(scope="module")
def expected(bucket: str) -> list[dict[str, Any]]:
    """The rows of a local run by the engine that workers elsewhere have."""
    places = ["--input", f"{bucket}/photos", "--store", f"{bucket}/local"]
    assert embed.main([*places, "--engine", "litert", "--no-report"]) == 0
    return rows(f"{bucket}/local")


def test_dataflow_conforms(bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    service = Dataflow(tmp_path, IN_IMAGE)
    with serve(service) as flags:
        call = ["--directory", f"{bucket}/conformance", "--images", "24", "--json"]
        status = conformance.main([*call, *flags, f"--temp_location={bucket}/temp", f"--sdk_container_image={IMAGE}"])
    printed = capfd.readouterr()
    assert status == 0, printed.err
    assert {check["verdict"] for check in json.loads(printed.out)["checks"]} == {"same"}
    assert [job["currentState"] for job in service.jobs] == [DONE] * 5


def test_a_command_leaves_and_the_job_publishes(
    bucket: str, expected: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker has nothing of the project but the package that --setup_file stages."""
    service, store = Dataflow(tmp_path, {}), f"{bucket}/alone"
    call = ["--input", f"{bucket}/photos", "--store", store, f"--temp_location={bucket}/temp", SETUP_FILE, "--json"]
    service.waiting.clear()
    with serve(service) as flags:
        assert embed.main([*call, *flags, "--dry-run"]) == 0
        assert json.loads(capsys.readouterr().out)["new"] == 21
        assert embed.main([*call, *flags, "--dry_run=True", "--no-wait"]) == 0
        assert json.loads(capsys.readouterr().out)["job"] == ""
        assert not service.jobs
        assert embed.main([*call, *flags, "--no-wait", "--machine_type=n2-standard-4", "--labels=team=photos"]) == 0
    submitted = json.loads(capsys.readouterr().out)
    with pytest.raises(FileNotFoundError):
        read_json(submitted["record"])
    service.waiting.set()
    assert service.wait(submitted["job"])["state"] == DONE
    record = read_json(submitted["record"])
    assert (record["embedded"], record["failed"], record["run_id"]) == (20, 1, submitted["run_id"])
    assert rows(store) == expected
    check_job(service.jobs[0], bucket)


def check_job(job: dict[str, Any], bucket: str) -> None:
    """Looks whether the job asks for what was meant."""
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "n2-standard-4"
    assert pool["numThreadsPerWorker"] == 1, "one shard at a time takes all cores of a process"
    assert job["labels"] == {"team": "photos"}
    options = job["environment"]["sdkPipelineOptions"]["options"]
    assert options["setup_file"] == f"{ROOT}/setup.py"
    assert options["pipelineUrl"].startswith(f"{bucket}/temp/")
    assert "workflow.tar.gz" in {package["name"] for package in pool["packages"]}
    assert any("beam_python3.11_sdk" in image["containerImage"] for image in pool["sdkHarnessContainerImages"])
    graph = beam_runner_api_pb2.Pipeline.FromString(read(options["pipelineUrl"])).components
    steps = {step.unique_name: step.environment_id for step in graph.transforms.values() if step.environment_id}
    hints = {name: dict(graph.environments[place].resource_hints) for name, place in steps.items()}
    (of_network,) = [found for name, found in hints.items() if name.endswith("/EmbedShard")]
    (memory,) = of_network.values()
    assert int(memory) > 1e9
    assert sum(map(bool, hints.values())) == 1, "only the network's step asks for memory"


def test_the_template_s_launcher_submits_and_leaves(
    bucket: str, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The launcher has ended, and its process is gone, before the job that it staged begins."""
    job_file = f"{bucket}/launches/job_object"
    parameters = {"input": f"{bucket}/photos", "store": f"{bucket}/flex", "shard_size": "9", "sync": "false"}
    launcher = {
        "runner": "DataflowRunner",
        "project": "project",
        "region": "region",
        "temp_location": f"{bucket}/temp",
        "template_location": job_file,
        "no_auth": "true",
        "sdk_container_image": IMAGE,
        "machine_type": "n2-standard-8",
    }
    words = [f"--{name}={value}" for name, value in {**parameters, **launcher}.items() if name != "no_auth"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "launch.py"), *words, "--no_auth", "--command=embed"],
        env=os.environ | IN_IMAGE | {"NO_GCE_CHECK": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("built: the job, which --template_location or --dry_run leaves to another\n")
    job = json.loads(read(job_file))
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "n2-standard-8"
    assert {image["containerImage"] for image in pool["sdkHarnessContainerImages"]} == {IMAGE}
    end = execute(job, tmp_path / "job", IN_IMAGE)
    assert end["state"] == DONE, end["error"]
    assert rows(f"{bucket}/flex") == expected


def read_json(address: str) -> dict[str, Any]:
    from transforms.files.filesystem import open_filesystem, read_bytes

    found: dict[str, Any] = json.loads(read_bytes(*open_filesystem(address)))
    return found

"""Two hosts work on one job: both take part, and the answer is the local one."""

from __future__ import annotations

import collections
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.transforms.environments import ExternalEnvironment

from pipelines import conformance, runner
from tests.hosts import two_hosts, why_not

pytestmark = pytest.mark.slow


class ElsewhereRunner(FnApiRunner):
    """Beam's own local runner, whose workers are in pools when several are asked for."""

    def run_pipeline(self, pipeline: Any, options: Any) -> Any:
        if options.view_as(DirectOptions).direct_num_workers > 1:
            self._default_environment = ExternalEnvironment("to be replaced")
        return super().run_pipeline(pipeline, options)


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where two hosts, to which workers are dealt in turn, write down what they did."""
    if reason := why_not():
        pytest.skip(f"two hosts: {reason}")
    with two_hosts(tmp_path) as (here, pools):
        turn = itertools.cycle(pools)
        handler = worker_handlers.ExternalWorkerHandler
        begin = handler.start_worker

        def start_worker(self: Any) -> None:
            self._external_payload.endpoint.url = next(turn)
            begin(self)

        monkeypatch.setattr(handler, "start_worker", start_worker)
        monkeypatch.setattr(handler, "host_from_worker", lambda self: here)
        monkeypatch.setattr(runner, "FnApiRunner", ElsewhereRunner)
        yield tmp_path


def test_two_hosts_share_the_work_and_conform(logs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = logs / "shared"
    place.mkdir()
    call = ["--directory", str(place), "--images", "60", "--keep", "--json", "--direct_num_workers=2"]
    status = conformance.main(call)
    printed = capfd.readouterr()
    assert status == 0, printed.err
    assert {check["verdict"] for check in json.loads(printed.out)["checks"]} == {"same"}
    done = [json.loads(line) for log in logs.glob("host-*.jsonl") for line in log.read_text().splitlines()]
    hosts_by_run: dict[str, list[str]] = collections.defaultdict(list)
    for entry in done:
        hosts_by_run[entry["run"]].append(entry["host"])
    large = [set(hosts) for hosts in hosts_by_run.values() if len(hosts) > 10]
    assert list(map(len, large)) == [2, 2], "embed and score: shards are dealt by chance, but not all to one"

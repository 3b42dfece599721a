"""Dataflow on this machine: its jobs API over HTTP, and a worker that executes the graphs that are staged.

A job runs in a process of its own, which finds the project only in the staged package: the graph is read from the
object store, its containers are replaced by the worker's own Python, and the runner is the local one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DONE, FAILED = "JOB_STATE_DONE", "JOB_STATE_FAILED"


class Dataflow:
    """Jobs that were submitted, and their ends.

    Args:
      directory: where workers install staged packages.
      environment: of the workers, beside this process' own.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.waiting = threading.Event()
        """Jobs start when it is set: by default at once."""
        self.waiting.set()
        self._directory, self._environment = directory, dict(environment)
        self._ends: dict[str, dict[str, Any]] = {}
        self._threads: dict[str, threading.Thread] = {}

    def create(self, job: dict[str, Any]) -> dict[str, Any]:
        """Takes a job, and starts it."""
        created = job | {"id": f"job-{len(self.jobs)}", "currentState": "JOB_STATE_PENDING"}
        self.jobs.append(created)
        thread = threading.Thread(target=self._run, args=(created,), daemon=True)
        self._threads[created["id"]] = thread
        thread.start()
        return created

    def wait(self, job_id: str) -> dict[str, Any]:
        """Returns ``{state, error, counters}`` of a job once it has ended."""
        self._threads[job_id].join()
        return self._ends[job_id]

    def _run(self, job: dict[str, Any]) -> None:
        self.waiting.wait()
        end = execute(job, self._directory / job["id"], self._environment)
        self._ends[job["id"]] = end
        job["currentState"] = end["state"]


def execute(job: Mapping[str, Any], directory: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Does what Dataflow's workers do with a job; returns ``{state, error, counters}``."""
    graph = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    directory.mkdir(parents=True)
    command = [sys.executable, "-P", str(ROOT / "tests" / "dataflow_worker.py"), graph, str(directory)]
    mine = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=directory, env=mine | environment, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        return {"state": FAILED, "error": done.stderr[-4000:], "counters": {}}
    return {"state": DONE, "error": "", "counters": json.loads(done.stdout.splitlines()[-1])}


@contextlib.contextmanager
def serve(service: Dataflow) -> Iterator[list[str]]:
    """Answers the jobs API on a free port of loopback; yields the flags that lead Beam there."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(service.create(json.loads(body)))

        def do_GET(self) -> None:
            """Holds back a job's state until there is news of it; Beam would ask again after five seconds."""
            job_id, *rest = self.path.split("?")[0].partition("/jobs/")[2].split("/")
            end = service.wait(job_id)
            if rest == ["metrics"]:
                metrics = [metric for item in end["counters"].items() for metric in _metrics(*item)]
                self._answer({"metrics": metrics})
            elif rest == ["messages"]:
                self._answer({"jobMessages": [_message(end["error"])] if end["error"] else []})
            else:
                self._answer(next(job for job in service.jobs if job["id"] == job_id))

        def _answer(self, body: Mapping[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Is silent."""

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield [
            "--runner=DataflowRunner",
            f"--dataflow_endpoint=http://localhost:{server.server_address[1]}",
            "--no_auth",
            "--project=project",
            "--region=region",
        ]
    finally:
        server.shutdown()
        server.server_close()


def _metrics(name: str, value: int) -> Iterator[dict[str, Any]]:
    """Tells a figure twice, as the service does: as it is so far, and as it is certain."""
    for tentative in ({"tentative": "true"}, {}):
        context = {"namespace": "heliograph", "step": "step"} | tentative
        yield {"name": {"origin": "user", "name": name, "context": context}, "scalar": value}


def _message(text: str) -> dict[str, Any]:
    importance = "JOB_MESSAGE_ERROR"
    return {"id": "1", "time": "2026-01-01T00:00:00Z", "messageText": text, "messageImportance": importance}

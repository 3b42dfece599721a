"""A command as it is measured: its seconds, its speed between marks, and the memory of all its processes."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines import cli

ROOT = Path(__file__).parents[1]
MEMORY_SECONDS, MARK_SECONDS, ENDING_SECONDS = 0.4, 0.05, 10.0
WARMING = 0.2
"""Share of the images that is not part of the steady speed."""

_VARIABLE = "HELIOGRAPH_MEASURED"

Mark = tuple[float, int]
"""A moment, in seconds since the epoch, and how many images have their vectors by then."""


class Failed(Exception):
    """A measured command ended with another status than 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What a command took.

    Attributes:
      seconds: from its start to its end.
      peak_mb: most memory of all its processes together; what they share counts once.
      marks: in order.
      started: seconds since the epoch.
      output: what it printed.
    """

    seconds: float
    peak_mb: float
    marks: Sequence[Mark]
    started: float
    output: str

    @property
    def first(self) -> float:
        """Seconds from the start to the first images with vectors."""
        return self.marks[0][0] - self.started

    @property
    def steady(self) -> float:
        """Images a second, from when a fifth is done to the last mark."""
        moments = [mark for mark in self.marks if mark[1] >= self.marks[-1][1] * WARMING]
        (began, before), (ended, after) = moments[0], moments[-1]
        return (after - before) / (ended - began) if ended > began else float("nan")


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[], Mark | None] = lambda: None,
    marks: Path | None = None,
    timeout: float = 300.0,
) -> Measured:
    """Runs a command and watches it.

    Args:
      command: program and arguments; run in the root of the project.
      environment: variables on top of this process's.
      watch: asked some times a second how far it is.
      marks: directory into which the command's processes write theirs.
      timeout: seconds.

    Raises:
      Failed: with the end of what it wrote to standard error.
    """
    name = uuid.uuid4().hex
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **(environment or {}),
        _VARIABLE: name,
    }
    for variable in ("PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE"):  # what is installed has its bytecode
        variables.pop(variable, None)
    tree, peak, measured_at = _Tree(name), 0.0, 0.0
    seen: list[Mark] = []
    with tempfile.TemporaryFile("w+", errors="replace") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.time()
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=errors)
        try:
            while (status := process.poll()) is None:
                if (found := watch()) is not None and (not seen or found[1] > seen[-1][1]):
                    seen.append(found)
                if time.time() - measured_at > MEMORY_SECONDS:
                    measured_at, peak = time.time(), max(peak, tree.memory_mb())
                if time.time() - started > timeout:
                    raise Failed(f"not done within {timeout:.0f} s")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(MARK_SECONDS)
            seconds = time.time() - started
        finally:
            tree.end()
            process.wait()
        output.seek(0)
        errors.seek(0)
        if status:
            raise Failed(f"status {status}: {errors.read()[-2000:]}")
        return Measured(
            seconds=seconds,
            peak_mb=peak,
            marks=seen if marks is None else read_marks(marks),
            started=started,
            output=output.read(),
        )


def read_marks(directory: Path) -> list[Mark]:
    """Adds up the marks of all processes."""
    lines = [line.split() for path in directory.iterdir() for line in path.read_text().splitlines()]
    done, marks = 0, []
    for moment, images in sorted((float(moment), int(images)) for moment, images in lines):
        done += images
        marks.append((moment, done))
    return marks


class _Tree:
    """All processes that inherited a variable of the environment, whoever started them."""

    def __init__(self, name: str) -> None:
        self._sign = f"{_VARIABLE}={name}".encode()
        self._others: set[str] = set()

    def _processes(self) -> list[str]:
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if pid in self._others:
                continue
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            if self._sign in environment.split(b"\0"):
                found.append(pid)
            elif environment:  # one that is just being started has none yet
                self._others.add(pid)
        return found

    def memory_mb(self) -> float:
        """Proportional set size of all together."""
        total = 0
        for pid in self._processes():
            with contextlib.suppress(OSError, StopIteration, ValueError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
        return total * 1024 / 1e6

    def end(self) -> None:
        """Ends what is left, and waits until it is gone."""
        until = time.time() + ENDING_SECONDS
        while (left := self._processes()) and time.time() < until:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(MARK_SECONDS)


def heliograph(*words: str) -> list[str]:
    """Returns the command line of one of our commands."""
    return [sys.executable, "-m", "pipelines.cli", *words]


def run_here(words: Sequence[str]) -> dict[str, Any]:
    """Runs one of our commands in this process; returns its record."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = cli.main([*words, "--json"])
    if status:
        raise SystemExit(f"heliograph {words[0]} ended with status {status}")
    record: dict[str, Any] = json.loads(output.getvalue())
    return record

"""A run's progress: one living line on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from transforms.measures.remarks import plural
from transforms.shards.workspace import Progress, Workspace

LOG_INTERVAL_SECONDS = 10.0


class StatusLine:
    """A line of text that is written over on a terminal, and now and then written anew in a log.

    Args:
      stream: where to write; standard error by default, so that standard output stays clean.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self.live = self._stream.isatty()
        self._shown_at = time.monotonic()

    def update(self, text: str) -> bool:
        """Writes the line when it is time; returns whether it did."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r" + text[:width].ljust(width))
        elif time.monotonic() - self._shown_at >= LOG_INTERVAL_SECONDS:
            self._stream.write(text + "\n")
            self._shown_at = time.monotonic()
        else:
            return False
        self._stream.flush()
        return True

    def keep(self, text: str) -> None:
        """Writes a line that stays."""
        self.end()
        self._stream.write(text + "\n")
        self._stream.flush()
        self._shown_at = time.monotonic()

    def end(self) -> None:
        """Clears the living line."""
        if self.live:
            self._stream.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            self._stream.flush()


class ProgressLine:
    """Shows how far a run is, from the heartbeats of its workers.

    Args:
      verb: what is being done, such as ``embedding``.
      workspace: where the workers' heartbeats are.
      run_id: of the run.
      stream: where to write; standard error by default, so that standard output stays clean.
    """

    def __init__(self, verb: str, workspace: Workspace, run_id: str, stream: TextIO | None = None) -> None:
        self._verb, self._workspace, self._run_id = verb, workspace, run_id
        self._status = StatusLine(stream)
        self._first: tuple[float, int] | None = None
        self._shown = Progress()
        self.latest = Progress()

    def update(self) -> None:
        """Reads the heartbeats and writes a line when it is time."""
        now = time.monotonic()
        found = self._workspace.read_progress(self._run_id)
        if found.done >= self.latest.done:  # the step that publishes removes the heartbeats
            self.latest = found
        worked = self.latest.done - self.latest.resumed
        if self._first is None and worked:
            self._first = (now, worked)
        due = self.latest.planned if self._status.live else self.latest != self._shown
        if due and self._status.update(self._line(now)):
            self._shown = self.latest

    def end(self) -> None:
        """Clears the living line."""
        self._status.end()

    def interrupted(self) -> str:
        """Returns what to say after Ctrl-C."""
        return (
            f"interrupted after {self.latest.done:,} of {plural(self.latest.planned, 'image')}; finished shards are "
            "kept: the same command goes on from there"
        )

    def _line(self, now: float) -> str:
        progress = self.latest
        share = progress.done / progress.planned if progress.planned else 0.0
        parts = [f"{self._verb} {progress.done:,} of {plural(progress.planned, 'image')} ({share:.0%})"]
        if self._first is not None and now - self._first[0] > 0.5:
            rate = (progress.done - progress.resumed - self._first[1]) / (now - self._first[0])
            parts.append(f"{rate:,.0f} images/s")
            if rate > 0:
                parts.append(f"{duration((progress.planned - progress.done) / rate)} left")
        if progress.resumed:
            parts.append(f"{progress.resumed:,} done by an earlier run")
        if progress.failed:
            parts.append(f"{progress.failed:,} failed")
        return " · ".join(parts)


def duration(seconds: float) -> str:
    """Returns a span of time for a person: ``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

"""Where a table or an output keeps what nobody reads yet: markers, heartbeats and parts.

```
ROOT/_work/shards/<shard>.json       marker: this shard is done, and these are its files
ROOT/_work/progress/<run>/<worker>   heartbeat: what a worker has done so far, for the progress line
ROOT/_work/plan/<run>-<attempt>/     references and known images, sorted, while a run is planned and worked on
```
A part's own name is unique to the attempt; the marker, which appears at once and whole, says which part
counts. Whoever finds the marker repeats nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
import uuid
from collections.abc import Iterable, Mapping

from pyarrow import fs

from transforms.files.filesystem import (
    create,
    is_local,
    join,
    open_filesystem,
    read_bytes,
    remove_file,
    write_atomically,
)
from transforms.files.threads import map_in_threads
from transforms.shards.shard import ShardResult
from transforms.store.files import WORK

PASSING = frozenset({"NOT_FOUND", "FORBIDDEN_URI", "READ_ERROR", "TIMEOUT", "OUT_OF_MEMORY", "MODEL_ERROR"})
"""Failures that another run may not have: a shard with one of them is worked on again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workspace:
    """The work of runs below one root; plain data that travels to a worker."""

    root: str

    def path(self, *parts: str) -> str:
        """Returns an address below the work directory."""
        return join(self.root, WORK, *parts)

    def plan_directory(self, run_id: str) -> str:
        """Returns the address of a directory for one attempt's plan; whoever publishes the run removes it."""
        return self.path("plan", self.attempt_name(run_id))

    def attempt_name(self, shard: str) -> str:
        """Returns a name for a part file that no other attempt has."""
        return f"{shard}-{uuid.uuid4().hex[:12]}"

    def find(self, shard: str, run_id: str = "") -> ShardResult | None:
        """Returns the result of a finished shard, unless a file of it is gone or cut, or a failure may be over."""
        filesystem, path = open_filesystem(self.path("shards", f"{shard}.json"))
        try:
            result = ShardResult.from_json(read_bytes(filesystem, path))
        except (FileNotFoundError, ValueError):
            return None
        if result.name != shard or not PASSING.isdisjoint(result.failures):
            return None
        if self.file_sizes(result.files) != result.sizes:
            return None
        return dataclasses.replace(result, resumed=result.run_id != run_id)

    def file_sizes(self, files: Mapping[str, str]) -> dict[str, int | None]:
        """Returns the sizes of files below the root in bytes, by kind; None for one that is not there."""
        filesystem, root = open_filesystem(self.root)
        infos = filesystem.get_file_info([join(root, file) for file in files.values()])
        return {kind: info.size for kind, info in zip(files, infos, strict=True)}

    def finish(self, result: ShardResult) -> ShardResult:
        """Makes the marker: from now on the shard is done.

        Of several attempts that end at the same moment one makes it; the files of the others are orphans.

        Returns:
          The result that counts: the first one's, or this one where the marker there is not to be believed.
        """
        if create(self.path("shards", f"{result.name}.json"), result.to_json().encode()):
            return result
        first = self.find(result.name, result.run_id)
        if first is None:
            self.replace(result)
        return first or result

    def replace(self, result: ShardResult) -> None:
        """Writes the marker, whatever was there."""
        filesystem, path = open_filesystem(self.path("shards", f"{result.name}.json"))
        write_atomically(filesystem, path, result.to_json().encode())

    def forget(self, shards: Iterable[str]) -> None:
        """Removes the markers of shards that are published."""

        def remove(shard: str) -> None:
            filesystem, path = open_filesystem(self.path("shards", f"{shard}.json"))
            remove_file(filesystem, path)

        for _ in map_in_threads(remove, list(shards)):
            pass

    def clear_progress(self, run_id: str) -> None:
        """Removes a run's heartbeats."""
        filesystem, path = open_filesystem(self.path("progress", run_id))
        if filesystem.get_file_info(path).type == fs.FileType.Directory:
            filesystem.delete_dir(path)

    def read_progress(self, run_id: str) -> Progress:
        """Adds up the heartbeats of a run."""
        filesystem, path = open_filesystem(self.path("progress", run_id))
        total = Progress()
        for info in filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True)):
            if info.base_name.startswith("."):
                continue  # the next state of a heartbeat, not yet in its place
            try:
                beat = json.loads(read_bytes(filesystem, info.path))
                total = Progress(*(a + b for a, b in zip(total.values(), beat, strict=True)))
            except (OSError, TypeError, ValueError):
                continue  # being written or removed at this moment
        return total


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run has done so far.

    Attributes:
      planned: images in shards, once the plan is made.
      done: images that have a row or a dead letter.
      failed: those with a dead letter.
      resumed: those done by an earlier run.
    """

    planned: int = 0
    done: int = 0
    failed: int = 0
    resumed: int = 0

    def values(self) -> tuple[int, int, int, int]:
        """The fields in order."""
        return (self.planned, self.done, self.failed, self.resumed)


class Heartbeat:
    """Writes down what one worker has done, at most once an interval."""

    INTERVAL_SECONDS = 0.5
    REMOTE_INTERVAL_SECONDS = 5.0

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        name = f"{os.getpid()}-{threading.get_ident()}-{uuid.uuid4().hex[:8]}"
        self._address = workspace.path("progress", run_id, name)
        self._interval = self.INTERVAL_SECONDS if is_local(workspace.root) else self.REMOTE_INTERVAL_SECONDS
        self._progress = Progress()
        self._written_at = 0.0
        self._lock = threading.Lock()

    def add(self, *, planned: int = 0, done: int = 0, failed: int = 0, resumed: int = 0, now: bool = False) -> None:
        """Counts, and writes when the interval is over or ``now``."""
        with self._lock:
            added = (planned, done, failed, resumed)
            self._progress = Progress(*(a + b for a, b in zip(self._progress.values(), added, strict=True)))
            moment = time.monotonic()
            if not now and moment - self._written_at < self._interval:
                return
            self._written_at = moment
            filesystem, path = open_filesystem(self._address)
            with contextlib.suppress(OSError):  # a progress line is not worth a shard
                write_atomically(filesystem, path, json.dumps(self._progress.values()).encode())

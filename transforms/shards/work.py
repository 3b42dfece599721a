"""The work on one shard: batches go into a sink, failures into dead letters, a marker ends it."""

from __future__ import annotations

import collections
import dataclasses
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, TypeVar, cast

import pyarrow as pa

from transforms.encoders.encoder import Encoder
from transforms.encoders.interpreters import InterpretedEncoder
from transforms.encoders.specification import Preprocessing
from transforms.errors import PlaceError
from transforms.files.filesystem import join
from transforms.machine.cores import physical_cores, usable_cores
from transforms.machine.memory import usable_memory
from transforms.shards.decoder import StageClock
from transforms.shards.lanes import Lane
from transforms.shards.outcome import DeadLetter
from transforms.shards.record import peak_memory_mb
from transforms.shards.shard import ShardResult
from transforms.shards.tuning import IMAGES_IN_TURN, Way, ways_to_try
from transforms.shards.workspace import Heartbeat, Workspace
from transforms.store.dead_letters import write_letters
from transforms.store.files import WORK
from transforms.store.schema import DEAD_LETTER_SCHEMA

BATCH = 32
"""Images that are encoded together."""

BATCH_OF_CORE = 8
"""Least number of them for each core's interpreter, lest some wait for the last one."""

Batch = TypeVar("Batch")
Accepted = TypeVar("Accepted", contravariant=True)


class Written(NamedTuple):
    """What a sink made of a batch.

    Attributes:
      images: that it has.
      rows: a row an image and a view.
      classes: label, or predicted class, to its images; "" for those that have none.
      copied: images whose vector was known already.
      replaced: images that the table has in an older form.
    """

    images: int
    rows: int
    classes: Mapping[str, int]
    copied: int = 0
    replaced: int = 0


class Sink(Protocol[Accepted]):
    """Where rows go; on leaving ``with`` the files are whole, after an exception there are none."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def write(self, batch: Accepted) -> Written:
        """Adds the batch's rows."""
        ...

    def files(self) -> dict[str, str]:
        """Returns the finished files' paths below the root, by kind; ``data`` is a part of a table."""
        ...


def cores_of_process(processes: int) -> int:
    """Returns how many cores one of the processes on this machine has; 0 of them are one a core."""
    cores = usable_cores()
    return max(1, cores // (processes or cores))


def images_at_once(asked: int, engine: str, cores: int) -> int:
    """Returns how many images are encoded together: as asked, or by 0 what was measured to be best (docs/engines.md).

    TensorFlow takes them in one call. The other engines deal them to an interpreter a core, each of which needs some.
    """
    return asked or (BATCH if engine == "tensorflow" else max(BATCH, BATCH_OF_CORE * cores))


def ways_to_work(
    threads: int, images: int, cores: int, preprocessing: Preprocessing, encoder: Encoder | None = None
) -> list[Way]:
    """Returns the ways to decode and encode that are tried out; one where both numbers are asked for.

    Args:
      threads: asked for; 0 for one a core, or one for two where cores are threads of one another.
      images: in turn, asked for; 0 for what is best.
      cores: that the process has.
      preprocessing: of the images.
      encoder: that the threads call; None where they only decode.
    """
    half = max(1, cores * physical_cores() // len(os.sched_getaffinity(0)))
    return ways_to_try(
        [threads] if threads else [cores, half],
        [images] if images else IMAGES_IN_TURN,
        usable_memory() * cores / usable_cores(),
        preprocessing.height * preprocessing.width * 3,
        encoder.network_bytes if isinstance(encoder, InterpretedEncoder) else 0,
    )


@dataclasses.dataclass(kw_only=True)
class ShardWork:
    """Does shards one after the other and remembers what is done.

    Attributes:
      workspace: of markers and parts.
      heartbeat: for the progress line.
      run_id: of the run.
      cores: that this worker process has.
      clock: where the stages' seconds are counted.
      lane: that does them, once the network is loaded.
    """

    workspace: Workspace
    heartbeat: Heartbeat
    run_id: str
    cores: int = dataclasses.field(default_factory=usable_cores)
    clock: StageClock = dataclasses.field(default_factory=StageClock)
    lane: Lane | None = None
    _started: float | None = dataclasses.field(default=None, init=False)

    @property
    def lanes(self) -> dict[str, int]:
        """Returns how it is worked now, for the run record."""
        if self.lane is None:
            return {}
        way = self.lane.tuning.way
        return {
            "cores": self.cores,
            "decode_threads": way.threads,
            "images_in_turn": way.images,
            "images_at_once": self.lane.batch_size,
            "settled": int(self.lane.tuning.settled),
        }

    def close(self) -> None:
        """Lets the lane's threads go."""
        if self.lane is not None:
            self.lane.close()

    def resume(self, name: str, images: int, unchanged: bool = True) -> ShardResult | None:
        """Returns the result of a shard that an earlier attempt finished; else its core-seconds begin.

        Args:
          name: of the shard.
          images: that it has.
          unchanged: its files are known to be what they were; if not, an earlier attempt's marker is taken away.
        """
        self._started = time.perf_counter()
        if not unchanged:
            self.workspace.forget([name])
        result = self.workspace.find(name, self.run_id)
        if result is not None:
            resumed = images if result.resumed else 0
            self.heartbeat.add(done=images, failed=result.failed, resumed=resumed, now=True)
        return result

    def do(self, name: str, batches: Iterable[Batch | DeadLetter], sink: Sink[Batch]) -> ShardResult:
        """Drains the batches into the sink; writes dead letters and, at the end, the marker.

        Raises:
          PlaceError: the disk is full, or nothing may be written below the root.
        """
        try:
            return self._do(name, batches, sink)
        except OSError as error:
            place = PlaceError.of(f"{self.workspace.root} cannot be written: {error}")
            if place is None:
                raise
            raise place from error

    def _do(self, name: str, batches: Iterable[Batch | DeadLetter], sink: Sink[Batch]) -> ShardResult:
        before, started = dict(self.clock.seconds), self._started or time.perf_counter()
        self._started = None
        counts: collections.Counter[str] = collections.Counter()
        classes: collections.Counter[str] = collections.Counter()
        letters: list[DeadLetter] = []
        with sink:
            for batch in batches:
                if isinstance(batch, DeadLetter):
                    letters.append(batch)
                    self.heartbeat.add(done=1, failed=1)
                    continue
                clock = time.perf_counter()
                written = sink.write(batch)
                self.clock.add("write", clock)
                classes.update(written.classes)
                counts.update(images=written.images, rows=written.rows)
                counts.update(copied=written.copied, replaced=written.replaced)
                self.heartbeat.add(done=written.images)
        files = sink.files()
        if letters:
            files["errors"] = self._write_dead_letters(name, letters)
        result = self.workspace.finish(self._result(name, files, counts, classes, letters, before, started))
        self.heartbeat.add(now=True)
        return result

    def _write_dead_letters(self, name: str, letters: Sequence[DeadLetter]) -> str:
        path = f"{WORK}/parts/{self.workspace.attempt_name(name)}.errors.parquet"
        rows = [letter.to_row(self.run_id) for letter in letters]
        write_letters(join(self.workspace.root, path), pa.Table.from_pylist(rows, schema=DEAD_LETTER_SCHEMA))
        return path

    def _result(
        self,
        name: str,
        files: dict[str, str],
        counts: collections.Counter[str],
        classes: Mapping[str, int],
        letters: Sequence[DeadLetter],
        before: Mapping[str, float],
        started: float,
    ) -> ShardResult:
        return ShardResult(
            name=name,
            run_id=self.run_id,
            files=files,
            rows=counts["rows"],
            sizes=cast(dict[str, int], self.workspace.file_sizes(files)),
            encoded=counts["images"] - counts["copied"],
            copied=counts["copied"],
            failures=dict(collections.Counter(letter.error.error_class.value for letter in letters)),
            failure_example=f"{letters[0].reference.uri}: {letters[0].error}"[:500] if letters else "",
            classes=dict(classes),
            replaced=counts["replaced"],
            stage_seconds={k: v - before.get(k, 0.0) for k, v in self.clock.seconds.items()},
            peak_memory_mb=peak_memory_mb(),
            core_seconds=(time.perf_counter() - started) * self.cores,
            lanes=self.lanes,
        )

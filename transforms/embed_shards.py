"""Embed: a worker turns a shard into a part of the feature store."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from transforms.files.runs import Run
from transforms.shards.embedder import EmbedOptions, ShardEmbedder
from transforms.shards.plan import PlannedShard
from transforms.shards.shard import ShardResult

COUNTERS = "heliograph"
"""Namespace of what is counted; the names are RunInference's where the meaning agrees."""


@dataclasses.dataclass(kw_only=True)
class EmbedShards(beam.PTransform):
    """Packed PlannedShards to ShardResults as JSON; reading, decoding and encoding happen in one DoFn.

    Attributes:
      options: how it is embedded.
      contents: packed runs of IndexContents.
      hints: of the resources that a worker needs, as Beam names them.
    """

    options: EmbedOptions
    contents: beam.PCollection
    hints: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Maps ShardEmbedder.embed."""
        embedder = functools.partial(ShardEmbedder, self.options, observe_inference)
        step = beam.ParDo(_EmbedShard(embedder), beam.pvalue.AsList(self.contents))
        return shards | "EmbedShard" >> step.with_resource_hints(**self.hints)


class Closes(Protocol):
    """What works on shards."""

    def close(self) -> None:
        """Lets threads and memory go."""
        ...


Worker = TypeVar("Worker", bound=Closes)


class _Turns(Generic[Worker]):
    """One worker for all threads of a process: one network, one index, and as many threads as there are cores."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._make, self._turn = make, threading.Lock()
        self._users = 0
        self._worker: Worker | None = None

    def join(self) -> None:
        with self._turn:
            self._users += 1

    @contextlib.contextmanager
    def take(self) -> Iterator[Worker]:
        with self._turn:
            if self._worker is None:
                self._worker = self._make()
            yield self._worker

    def leave(self) -> None:
        with self._turn:
            self._users -= 1
            if not self._users and self._worker is not None:
                self._worker.close()
                self._worker = None


class OneAProcess(beam.DoFn, Generic[Worker]):  # type: ignore[misc]
    """Works on one shard at a time, whatever a runner makes of threads and of copies of this DoFn.

    Args:
      make: makes the worker, when its first shard comes.
    """

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._make, self._shared = make, Shared()

    def setup(self) -> None:
        """Finds the others of this process."""
        self._turns: _Turns[Worker] = self._shared.acquire(lambda: _Turns(self._make))
        self._turns.join()

    def teardown(self) -> None:
        """Closes the worker, once nobody needs it."""
        self._turns.leave()


class _EmbedShard(OneAProcess[ShardEmbedder]):
    def process(self, shard: tuple[Any, ...], contents: Sequence[tuple[Any, ...]]) -> Iterator[str]:
        with self._turns.take() as embedder:
            result = embedder.embed(PlannedShard(*shard).load(), [Run(*run) for run in contents])
        count_result(result)
        yield result.to_json()


def observe_inference(size: int, seconds: float) -> None:
    """Counts a call of the network."""
    Metrics.counter(COUNTERS, "num_inferences").inc(size)
    Metrics.distribution(COUNTERS, "inference_request_batch_size").update(size)
    Metrics.distribution(COUNTERS, "inference_batch_latency_micro_secs").update(int(seconds * 1e6))


def count_result(result: ShardResult) -> None:
    """Counts what became of a shard's images."""
    Metrics.counter(COUNTERS, "images-read").inc(result.encoded + result.copied)
    Metrics.counter(COUNTERS, "images-failed").inc(result.failed)

"""Embed: a worker turns a shard into a part of the feature store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.files.runs import Run
from transforms.shards.embedder import EmbedOptions, ShardEmbedder
from transforms.shards.plan import PlannedShard
from transforms.shards.shard import ShardResult


@dataclasses.dataclass(kw_only=True)
class EmbedShards(beam.PTransform):
    """Packed PlannedShards to ShardResults as JSON; reading, decoding and encoding happen in one DoFn.

    Attributes:
      options: how it is embedded.
      contents: packed runs of IndexContents.
    """

    options: EmbedOptions
    contents: beam.PCollection

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Maps ShardEmbedder.embed."""
        return shards | "EmbedShard" >> beam.ParDo(_EmbedShard(self.options), beam.pvalue.AsList(self.contents))


class _EmbedShard(beam.DoFn):  # type: ignore[misc]
    """Loads the encoder once, and counts under the names that RunInference uses."""

    def __init__(self, options: EmbedOptions) -> None:
        self._options = options

    def setup(self) -> None:
        self._embedder = ShardEmbedder(self._options, observe_inference)

    def process(self, shard: tuple[Any, ...], contents: Sequence[tuple[Any, ...]]) -> Iterator[str]:
        result = self._embedder.embed(PlannedShard(*shard).load(), [Run(*run) for run in contents])
        count_result(result)
        yield result.to_json()

    def teardown(self) -> None:
        self._embedder.close()


def observe_inference(size: int, seconds: float) -> None:
    """Counts a call of the network."""
    Metrics.counter("heliograph", "num_inferences").inc(size)
    Metrics.distribution("heliograph", "inference_request_batch_size").update(size)
    Metrics.distribution("heliograph", "inference_batch_latency_micro_secs").update(int(seconds * 1e6))


def count_result(result: ShardResult) -> None:
    """Counts what became of a shard's images."""
    Metrics.counter("heliograph", "images-read").inc(result.encoded + result.copied)
    Metrics.counter("heliograph", "images-failed").inc(result.failed)

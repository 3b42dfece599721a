"""Score: a worker turns a shard of images, or a file of stored features, into predictions."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam

from transforms.embed_shards import OneAProcess, count_result, observe_inference
from transforms.shards.plan import PlannedShard
from transforms.shards.predictor import ScoreOptions, ShardPredictor
from transforms.store.read import count_images
from transforms.store.table import FeatureTable

StoredShard = tuple[str, str, int]
"""Name of the shard, data file, images in it."""


def stored_shards(table: FeatureTable, purpose: str) -> list[StoredShard]:
    """Returns a shard for each data file of a table; named by the file and by what is done to it."""
    shards = []
    for file in table.data_files():
        digest = hashlib.sha256(f"{purpose} {file.path} {file.rows}".encode()).hexdigest()[:24]
        shards.append((digest, file.uri, count_images(file)))
    return shards


def stored_images(shard: tuple[Any, ...]) -> int:
    """Returns how many images a StoredShard has."""
    return int(shard[2])


@dataclasses.dataclass(kw_only=True)
class ScoreShards(beam.PTransform):
    """Packed PlannedShards, or StoredShards, to ShardResults as JSON.

    Attributes:
      options: how it is scored.
      hints: of the resources that a worker needs, as Beam names them.
    """

    options: ScoreOptions
    hints: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Maps ShardPredictor over the shards."""
        predictor = functools.partial(ShardPredictor, self.options, observe_inference)
        step = beam.ParDo(_ScoreShard(predictor), stored=self.options.table is not None)
        return shards | "ScoreShard" >> step.with_resource_hints(**self.hints)


class _ScoreShard(OneAProcess[ShardPredictor]):
    def process(self, shard: tuple[Any, ...], stored: bool) -> Iterator[str]:
        with self._turns.take() as predictor:
            result = predictor.score_stored(*shard) if stored else predictor.score(PlannedShard(*shard).load())
        count_result(result)
        yield result.to_json()

"""Score: a worker turns a shard of images, or a file of stored features, into predictions."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from transforms.embed_shards import count_result, observe_inference
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
    """Packed PlannedShards, or StoredShards, to ShardResults as JSON."""

    options: ScoreOptions

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Maps ShardPredictor over the shards."""
        return shards | "ScoreShard" >> beam.ParDo(_ScoreShard(self.options))


class _ScoreShard(beam.DoFn):  # type: ignore[misc]
    """Loads model and encoder once."""

    def __init__(self, options: ScoreOptions) -> None:
        self._options = options

    def setup(self) -> None:
        self._predictor = ShardPredictor(self._options, observe_inference)

    def process(self, shard: tuple[Any, ...]) -> Iterator[str]:
        if self._options.table is None:
            result = self._predictor.score(PlannedShard(*shard).load())
        else:
            result = self._predictor.score_stored(*shard)
        count_result(result)
        yield result.to_json()

    def teardown(self) -> None:
        self._predictor.close()

"""A shard becomes a part of the predictions; from pixels, or from stored features without reading any."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from transforms.encoders.engines import where_installed
from transforms.encoders.golden import self_test
from transforms.encoders.resolve import load_encoder
from transforms.errors import OptionError
from transforms.files.filesystem import is_local, join, open_filesystem
from transforms.files.spreadsheet import csv_lines
from transforms.files.threads import read_ahead
from transforms.images.augment import find_policy
from transforms.model.directory import ModelDirectory
from transforms.shards.lanes import Lane, Observe, ignore
from transforms.shards.outcome import DeadLetter
from transforms.shards.predictions import (
    CSV_COLUMNS,
    STORED_COLUMNS,
    ImageBatch,
    count_classes,
    csv_text,
    predict,
    vertex_lines,
)
from transforms.shards.shard import Shard, ShardResult
from transforms.shards.views import ViewsEncoder
from transforms.shards.work import ShardWork, Written, cores_of_process, images_at_once, ways_to_work
from transforms.shards.workspace import Heartbeat, Workspace
from transforms.store.files import WORK
from transforms.store.read import read_file
from transforms.store.schema import prediction_schema
from transforms.store.write import sync

FORMATS = ("parquet", "jsonl", "csv")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """All that a worker must know to score; plain data.

    Attributes:
      model: address of one version of a model.
      output: where the predictions go.
      run_id: of the run.
      roots: folders below which images must lie.
      formats: some of FORMATS.
      top_k: labels a row, best first.
      table: of stored features to score; None to read images.
      version: of that table.
      batch_size: images that are encoded together; 0 for what suits the engine.
      threads: that read and decode; 0 for one a core of the process.
      processes: of workers that share a machine; 0 for one a core.
      timeout_seconds: for one image.
      trust_model: load a model whose graph has operators outside the allow-list.
      device: that the network runs on; one of transforms.encoders.devices.DEVICES.
      tta: augmented views of each image whose probabilities are averaged with its own; 0 for none.
      augment: the policy of these views.
    """

    model: str
    output: str
    run_id: str
    roots: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("parquet", "jsonl")
    top_k: int = 100
    table: str | None = None
    version: int | None = None
    batch_size: int = 0
    threads: int = 0
    processes: int = 1
    timeout_seconds: float = 60.0
    trust_model: bool = False
    device: str = "auto"
    tta: int = 0
    augment: str = ""

    @property
    def purpose(self) -> str:
        """What is done, for the names of shards: another one is another shard."""
        views = f" tta {self.tta} {find_policy(self.augment).fingerprint}" if self.tta else ""
        return f"top {self.top_k} {','.join(sorted(self.formats))}{views}"

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise OptionError(f"--format must be some of {','.join(FORMATS)}, got {','.join(self.formats)!r}")
        if self.top_k < 1:
            raise OptionError(f"--top-k must be positive, got {self.top_k}")


class ShardPredictor:
    """Scores shards one after the other; holds what is loaded once a worker.

    Args:
      options: what to do.
      observe: is told the size and the seconds of each call of the network.

    Raises:
      ModelError: the model is missing or half there.
      SelfTestError: the encoder does not reproduce the model's golden vectors.
    """

    def __init__(self, options: ScoreOptions, observe: Observe | None = None) -> None:
        self._options, self._observe = options, observe
        self.model = ModelDirectory.open(options.model)
        workspace = Workspace(root=options.output)
        heartbeat = Heartbeat(workspace, options.run_id)
        self._work = ShardWork(
            workspace=workspace, heartbeat=heartbeat, run_id=options.run_id, cores=cores_of_process(options.processes)
        )

    def score(self, shard: Shard) -> ShardResult:
        """Scores the images of a shard: read, decode, encode, head."""
        # Without a fingerprint nobody knows whether a file is still what an earlier run has scored.
        unchanged = all(reference.fingerprint or reference.problem for reference in shard.references)
        done = self._work.resume(shard.name, len(shard.references), unchanged)
        if done is not None:
            return done
        if self._work.lane is None:
            self._work.lane = self._load_lane()
        return self._do(shard.name, self._pixel_batches(self._work.lane, shard))

    def score_stored(self, name: str, data_file: str, images: int) -> ShardResult:
        """Scores the images of one data file of a feature table, not their views: head only."""
        done = self._work.resume(name, images)
        if done is not None:
            return done
        return self._do(name, self._stored_batches(data_file))

    def _do(self, name: str, batches: Iterable[ImageBatch | DeadLetter]) -> ShardResult:
        """Does a shard without BLAS's threads: a head is too small for them, and waiting they keep the cores busy."""
        with threadpool_limits(1, "blas"):
            return self._work.do(name, batches, self._sink(name))

    def close(self) -> None:
        """Lets the threads go."""
        self._work.close()

    def _load_lane(self) -> Lane:
        options, specification = self._options, where_installed(self.model.encoder)
        encoder = load_encoder(
            specification,
            trust_model=options.trust_model,
            threads=self._work.cores,
            beside=self.model.path,
            device=options.device,
        )
        self_test(encoder, self.model.golden)
        return Lane(
            encoder=ViewsEncoder(encoder, options.tta, options.augment) if options.tta else encoder,
            preprocessing=specification.preprocessing,
            roots=options.roots,
            batch_size=images_at_once(options.batch_size, specification.engine, self._work.cores),
            ways=ways_to_work(
                options.threads, options.batch_size, self._work.cores, specification.preprocessing, encoder
            ),
            timeout_seconds=options.timeout_seconds,
            with_brightness=True,
            observe=self._observe or ignore,
            clock=self._work.clock,
        )

    def _sink(self, name: str) -> _PredictionSink:
        attempt = self._work.workspace.attempt_name(name)
        return _PredictionSink(self._options, self.model, attempt)

    def _pixel_batches(self, lane: Lane, shard: Shard) -> Iterator[ImageBatch | DeadLetter]:
        for outcome in lane.run(shard.references):
            yield outcome if isinstance(outcome, DeadLetter) else ImageBatch.of_images(outcome)

    def _stored_batches(self, data_file: str) -> Iterator[ImageBatch]:
        """Yields the images of view 0; reading, a third of the work, is done meanwhile."""
        for batch in read_ahead(read_file(data_file, STORED_COLUMNS, views=(0,))):
            yield ImageBatch.of_features(batch, self.model.head.dimension, data_file)


class _PredictionSink:
    """Rows of predictions in each format, in files that exist once there is a row."""

    def __init__(self, options: ScoreOptions, model: ModelDirectory, attempt: str) -> None:
        self._options, self._model = options, model
        self._paths = {name: f"{WORK}/parts/{attempt}.{name}" for name in options.formats}
        self._streams: dict[str, Any] = {}
        self._parquet: pq.ParquetWriter | None = None

    def write(self, batch: ImageBatch) -> Written:
        if not self._streams:
            self._open()
        predictions = predict(batch, self._model.head, self._model.identifier, self._options.top_k)
        if self._parquet is not None:
            self._parquet.write_batch(predictions)
        if "jsonl" in self._streams:
            self._streams["jsonl"].write(vertex_lines(predictions).encode())
        if "csv" in self._streams:
            self._streams["csv"].write(csv_text(predictions).encode())
        return Written(images=len(predictions), rows=len(predictions), classes=count_classes(predictions))

    def __enter__(self) -> _PredictionSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._parquet is not None:
            self._parquet.close()
        for name, stream in self._streams.items():
            stream.close()
            filesystem, path = open_filesystem(join(self._options.output, self._paths[name]))
            if kind is not None:
                filesystem.delete_file(path)
            elif is_local(self._options.output):
                sync(path)

    def files(self) -> dict[str, str]:
        return self._paths if self._streams else {}

    def _open(self) -> None:
        for name, file in self._paths.items():
            filesystem, path = open_filesystem(join(self._options.output, file))
            filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
            self._streams[name] = filesystem.open_output_stream(path)
        if "parquet" in self._streams:
            self._parquet = pq.ParquetWriter(self._streams["parquet"], prediction_schema())
        if "csv" in self._streams:
            self._streams["csv"].write(csv_lines([CSV_COLUMNS]).encode())

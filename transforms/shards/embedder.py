"""A shard becomes a part of the feature store."""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from transforms.encoders.encoder import Encoder
from transforms.encoders.golden import golden_images, self_test
from transforms.encoders.resolve import load_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.files.runs import Run
from transforms.images.augment import NO_VIEWS, Views
from transforms.shards.lanes import Lane, Observe, ignore
from transforms.shards.outcome import EncodedImage, stack_vectors
from transforms.shards.shard import Shard, ShardResult
from transforms.shards.work import ShardWork, Written, cores_of_process, images_at_once, ways_to_work
from transforms.shards.workspace import Heartbeat, Workspace
from transforms.sources.reference import SPLITS
from transforms.sources.split import SplitRatios
from transforms.store.index import ContentIndex, SortedContentIndex
from transforms.store.schema import VIEWS_KEY, feature_schema, file_metadata
from transforms.store.table import FeatureTable
from transforms.store.write import PartWriter


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """All that a worker must know to embed; plain data.

    Attributes:
      table: address of the table.
      version: of the table that the plan was made with; None when there is no table yet.
      specification: of the encoder.
      run_id: of the run.
      roots: folders below which images must lie.
      split: shares by which images without a split of their own are divided.
      views: of each image of the training split, which get rows of their own.
      batch_size: images that are encoded together; 0 for what suits the engine.
      threads: that read and decode; 0 for one a core of the process.
      processes: of workers that share a machine; 0 for one a core.
      timeout_seconds: for one image.
      trust_model: load a model whose graph has operators outside the allow-list.
      device: that the network runs on; one of transforms.encoders.devices.DEVICES.
    """

    table: str
    version: int | None
    specification: EncoderSpecification
    run_id: str
    roots: tuple[str, ...]
    split: SplitRatios
    views: Views = NO_VIEWS
    batch_size: int = 0
    threads: int = 0
    processes: int = 1
    timeout_seconds: float = 60.0
    trust_model: bool = False
    device: str = "auto"

    def split_of(self, image: EncodedImage) -> str:
        """Returns the split of an image."""
        reference = image.reference
        return reference.split or self.split.assign(reference.group or image.sha256)

    def views_of(self, image: EncodedImage) -> Views:
        """Returns the views of an image that are rows as well; there are none outside the training split."""
        return self.views if self.split_of(image) == SPLITS[0] else NO_VIEWS

    def load_encoder(self, cores: int) -> Encoder:
        """Loads the encoder for a process that has so many cores."""
        return load_encoder(
            self.specification,
            trust_model=self.trust_model,
            threads=cores,
            beside=self.table,
            device=self.device,
        )

    def lane(self, encoder: Encoder, cores: int, **more: Any) -> Lane:
        """Returns the lane of such a process; ``more`` are further attributes of it."""
        return Lane(
            encoder=encoder,
            preprocessing=self.specification.preprocessing,
            roots=self.roots,
            views_of=self.views_of if self.views.count else None,
            batch_size=images_at_once(self.batch_size, self.specification.engine, cores),
            ways=ways_to_work(self.threads, self.batch_size, cores, self.specification.preprocessing, encoder),
            timeout_seconds=self.timeout_seconds,
            **more,
        )


class ShardEmbedder:
    """Embeds shards one after the other; holds what is loaded once a worker.

    Args:
      options: what to do.
      observe: is told the size and the seconds of each call of the network.

    Raises:
      SelfTestError: the encoder does not reproduce the table's golden vectors.
    """

    def __init__(self, options: EmbedOptions, observe: Observe | None = None) -> None:
        self._options, self._observe = options, observe
        workspace = Workspace(root=options.table)
        heartbeat = Heartbeat(workspace, options.run_id)
        self._work = ShardWork(
            workspace=workspace, heartbeat=heartbeat, run_id=options.run_id, cores=cores_of_process(options.processes)
        )

    def _load_lane(self, contents: Sequence[Run]) -> Lane:
        """Loads what the first shard needs that is not finished; a night with nothing new needs no network."""
        options, cores = self._options, self._work.cores
        encoder = options.load_encoder(cores)
        known: ContentIndex | None = None
        if options.version is not None:
            table = FeatureTable.open(options.table, options.version)
            self_test(encoder, table.golden)
            known = SortedContentIndex(table, contents) if contents else ContentIndex(table)
        else:
            encoder.encode(golden_images(options.specification))  # traces the network before the clock runs
        return options.lane(encoder, cores, known=known, observe=self._observe or ignore, clock=self._work.clock)

    def embed(self, shard: Shard, contents: Sequence[Run] = ()) -> ShardResult:
        """Writes a part and a marker, unless an earlier attempt did.

        Args:
          shard: to do.
          contents: sorted index of a large table, the same for all shards; a small one's is made here.
        """
        done = self._work.resume(shard.name, len(shard.references))
        if done is not None:
            return done
        if self._work.lane is None:
            self._work.lane = self._load_lane(contents)
        sink = _FeatureSink(self._options, self._work.workspace.attempt_name(shard.name), shard.replaced_ids)
        return self._work.do(shard.name, self._work.lane.run(shard.references), sink)

    def close(self) -> None:
        """Lets the threads go."""
        self._work.close()


class _FeatureSink:
    """Rows of the feature store, in a part file below ``data/``, which exists once there is a row."""

    def __init__(self, options: EmbedOptions, attempt: str, replaced_ids: Iterable[str] = ()) -> None:
        self._options, self._replaced_ids = options, frozenset(replaced_ids)
        self._path = f"data/part-{attempt}.parquet"
        self._writer: PartWriter | None = None

    def __enter__(self) -> _FeatureSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, traceback)

    def files(self) -> dict[str, str]:
        return {"data": self._path} if self._writer is not None else {}

    def write(self, batch: Sequence[EncodedImage]) -> Written:
        if self._writer is None:
            specification = self._options.specification
            schema = feature_schema(specification.dimension)
            self._writer = PartWriter(self._options.table, self._path, schema, file_metadata(specification))
        now = datetime.datetime.now(datetime.UTC)
        looks = [(image, view_id) for image in batch for view_id in range(1 + len(image.views))]
        count = len(looks)
        references = [image.reference for image, _ in looks]
        policy = (VIEWS_KEY, self._options.views.key)
        self._writer.write(
            {
                "image_id": [reference.image_id for reference in references],
                "image_uri": [reference.uri for reference in references],
                "sha256": [image.sha256 for image, _ in looks],
                "event_timestamp": [now] * count,
                "created": [now] * count,
                "split": [self._options.split_of(image) for image, _ in looks],
                "labels": [list(reference.labels) for reference in references],
                "group": [reference.group for reference in references],
                "view_id": [view_id for _, view_id in looks],
                "width": [image.width for image, _ in looks],
                "height": [image.height for image, _ in looks],
                "format": [image.format for image, _ in looks],
                "byte_size": [image.byte_size for image, _ in looks],
                "attributes": [
                    [*image.reference.attributes, *([policy] if view_id else [])] for image, view_id in looks
                ],
                "source_fingerprint": [reference.fingerprint for reference in references],
                "run_id": [self._options.run_id] * count,
                "embedding": stack_vectors(batch),
            }
        )
        return Written(
            images=len(batch),
            rows=count,
            classes=collections.Counter(label for image in batch for label in image.reference.labels or ("",)),
            copied=sum(image.copied for image in batch),
            replaced=sum(image.reference.image_id in self._replaced_ids for image in batch),
        )

"""Plan: drop what the table has already, cut the rest into shards. A join in the graph, by image id."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam

from transforms.errors import ErrorClass, OptionError
from transforms.shards.shard import Shard
from transforms.shards.workspace import Heartbeat, Workspace
from transforms.sources.reference import ImageReference
from transforms.sources.split import SplitRatios
from transforms.store.read import read_file
from transforms.store.table import FeatureTable

TODO, COUNTED, GONE = "todo", "counted", "gone"
NEW, CHANGED, RELABELLED, REUSED, REMOVED, LISTED = (
    "new",
    "changed",
    "relabelled",
    "reused",
    "removed",
    "listed",
)

KNOWN_COLUMNS = ("image_id", "image_uri", "source_fingerprint", "labels", "split", "group", "attributes", "sha256")


class KnownImage(NamedTuple):
    """What the table knows of an image: enough to tell whether it must be looked at again."""

    uri: str
    fingerprint: str
    metadata_digest: str
    split: str
    sha256: str


def known_images(data_file: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields ``(image id, KnownImage as a tuple)`` for each image of one data file of a table."""
    for batch in read_file(data_file, KNOWN_COLUMNS, views=(0,)):
        for row in batch.to_pylist():
            reference = ImageReference(
                uri=row["image_uri"],
                labels=tuple(row["labels"] or ()),
                group=row["group"] or "",
                attributes=tuple(sorted(row["attributes"] or ())),
            )
            stored = (row[name] or "" for name in ("source_fingerprint", "split", "sha256"))
            fingerprint, split, sha256 = stored
            known = KnownImage(reference.uri, fingerprint, reference.metadata_digest, split, sha256)
            yield row["image_id"], tuple(known)


def plan_image(
    references: Iterable[tuple[Any, ...]],
    known: Iterable[tuple[str, ...]],
    scopes: Iterable[str],
    split: SplitRatios | None = None,
) -> Iterator[tuple[str, Any]]:
    """Decides what happens to the entries of one image id.

    Args:
      references: packed, as they were listed; the same entry may come several times.
      known: the image's KnownImage, or none.
      scopes: beginnings of addresses; who is known there and not listed counts as removed.
      split: that images without a split of their own fall into; None when splits do not matter.

    Yields:
      ``(TODO, (packed reference, replaces a row))`` for each entry that becomes a row or a dead letter, and
      ``(COUNTED, name)`` for the plan's figures, and ``(GONE, image id)`` for one that was removed.
    """
    listed = sorted(set(references))
    stored = next((KnownImage(*fields) for fields in known), None)
    if not listed:
        if stored and any(stored.uri.startswith(scope) for scope in scopes if scope):
            yield COUNTED, REMOVED
            yield GONE, ImageReference(stored.uri).image_id
        return
    first, *others = (ImageReference.unpack(fields) for fields in listed)
    yield COUNTED, LISTED
    state = _state(first, stored, split)
    yield COUNTED, state
    if state != REUSED:
        yield TODO, (first.pack(), state in (CHANGED, RELABELLED))
    for other in others:
        yield COUNTED, LISTED
        yield COUNTED, NEW
        message = f"{other.uri} is listed {len(listed)} times with different labels, split, attributes or place"
        yield TODO, (other.with_problem(ErrorClass.DUPLICATE_ID, message).pack(), False)


def _state(reference: ImageReference, stored: KnownImage | None, split: SplitRatios | None) -> str:
    if stored is None or reference.problem:
        return NEW
    if not reference.fingerprint or reference.fingerprint != stored.fingerprint:
        return CHANGED
    expected = reference.split or (split.assign(reference.group or stored.sha256) if split else stored.split)
    if reference.metadata_digest != stored.metadata_digest or expected != stored.split:
        return RELABELLED
    return REUSED


def cut_shard(entries: Iterable[tuple[tuple[Any, ...], bool]], purpose: str) -> tuple[Any, ...]:
    """Makes one packed Shard of planned entries."""
    planned = [(ImageReference.unpack(fields), replaces) for fields, replaces in entries]
    replaced = (reference.image_id for reference, replaces in planned if replaces)
    return Shard.of((reference for reference, _ in planned), replaced, purpose).pack()


def shard_key(entry: tuple[tuple[Any, ...], bool], total: int, shard_size: int) -> str:
    """Returns which shard an entry falls into, whatever the order of the listing.

    Files fall by the hash of their id; members of a container stay together in runs of ``shard_size``, so that a
    worker reads it once and forward; one that can only be read from its beginning is a single shard.
    """
    reference = ImageReference.unpack(entry[0])
    member = reference.member
    if member is None:
        return str(int(reference.image_id[:12], 16) % max(1, math.ceil(total / shard_size)))
    return f"{member.container}#{0 if member.sequential else member.ordinal // shard_size}"


@dataclasses.dataclass(kw_only=True)
class PlanShards(beam.PTransform):
    """Packed references to packed shards, and the plan's counts.

    Attributes:
      purpose: what will be done to the images; part of each shard's name.
      shard_size: images a shard, about.
      scopes: beginnings of addresses; who is known there and not listed counts as removed.
      table: of which known images are dropped; None to drop none.
      version: the table's.
      split: that images without a split of their own fall into; a stored row of another split is relabelled.
    """

    purpose: str
    shard_size: int = 1000
    scopes: tuple[str, ...] = ()
    table: str | None = None
    version: int | None = None
    split: SplitRatios | None = None

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise OptionError(f"--shard-size must be positive, got {self.shard_size}")

    def expand(self, references: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection, beam.PCollection]:
        """Joins, counts, cuts; returns shards, the plan's pairs ``(name, number)``, and the ids of who is gone."""
        planned = (
            {"listed": references | "KeyById" >> beam.Map(_keyed), "known": self._known(references.pipeline)}
            | "JoinKnown" >> beam.CoGroupByKey()
            | "PlanImage" >> beam.FlatMap(_plan_keyed, self.scopes, self.split).with_outputs(TODO, COUNTED, GONE)
        )
        # FlatMap yields (tag, value): the tagged outputs carry the values.
        total = planned[TODO] | "CountTodo" >> beam.combiners.Count.Globally()
        shards = (
            planned[TODO]
            | "KeyByShard" >> beam.Map(_keyed_by_shard, beam.pvalue.AsSingleton(total), self.shard_size)
            | "GroupShards" >> beam.GroupByKey()
            | "CutShards" >> beam.Map(_cut_keyed, self.purpose)
        )
        return shards, planned[COUNTED] | "CountPlan" >> beam.combiners.Count.PerElement(), planned[GONE]

    def _known(self, pipeline: beam.Pipeline) -> beam.PCollection:
        files: list[str] = []
        if self.table is not None and self.version is not None:
            files = [file.uri for file in FeatureTable.open(self.table, self.version).data_files()]
        return (
            pipeline | "DataFiles" >> beam.Create(files, reshuffle=True) | "KnownImages" >> beam.FlatMap(known_images)
        )


def images_of(shard: tuple[Any, ...]) -> int:
    """Returns how many images a packed Shard has."""
    return len(Shard.unpack(shard).references)


@dataclasses.dataclass(kw_only=True)
class AnnouncePlan(beam.PTransform):
    """Counts the planned images into the run's heartbeats, so that progress knows its end.

    Attributes:
      workspace: where the heartbeats are.
      run_id: of the run.
      count: tells the images of a shard.
    """

    workspace: Workspace
    run_id: str
    count: Callable[[tuple[Any, ...]], int]

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Passes the shards on, after all of them are planned."""
        return shards | "Announce" >> beam.ParDo(_Announce(self.workspace, self.run_id, self.count)) | beam.Reshuffle()


class _Announce(beam.DoFn):  # type: ignore[misc]
    def __init__(self, workspace: Workspace, run_id: str, count: Callable[[tuple[Any, ...]], int]) -> None:
        self._workspace, self._run_id, self._count = workspace, run_id, count

    def setup(self) -> None:
        self._heartbeat = Heartbeat(self._workspace, self._run_id)

    def process(self, shard: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        self._heartbeat.add(planned=self._count(shard), now=True)
        yield shard


def _keyed(fields: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    return ImageReference.unpack(fields).image_id, fields


def _plan_keyed(
    keyed: tuple[str, Mapping[str, Iterable[tuple[Any, ...]]]], scopes: tuple[str, ...], split: SplitRatios | None
) -> Iterator[beam.pvalue.TaggedOutput]:
    _, sides = keyed
    for tag, value in plan_image(sides["listed"], sides["known"], scopes, split):
        yield beam.pvalue.TaggedOutput(tag, value)


def _keyed_by_shard(entry: Any, total: int, shard_size: int) -> tuple[str, Any]:
    return shard_key(entry, total, shard_size), entry


def _cut_keyed(keyed: tuple[str, Iterable[Any]], purpose: str) -> tuple[Any, ...]:
    return cut_shard(keyed[1], purpose)

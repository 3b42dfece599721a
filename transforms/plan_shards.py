"""Plan: drop what the table has already, cut the rest into shards. A join in the graph, by image id."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.errors import OptionError
from transforms.files.runs import KeyRange, Run, RunWriter, read_range, split_ranges
from transforms.images.augment import NO_VIEWS, Views
from transforms.shards.plan import (
    KNOWN_SCHEMA,
    LISTED_SCHEMA,
    PlannedRange,
    PlannedShard,
    cut_file,
    join_cuts,
    known_rows,
    listed_row,
    plan_range,
)
from transforms.shards.workspace import Heartbeat, Workspace
from transforms.sources.reference import ImageReference
from transforms.sources.split import SplitRatios
from transforms.store.table import FeatureTable


@dataclasses.dataclass(kw_only=True)
class PlanShards(beam.PTransform):
    """Packed references to packed PlannedShards, and the plan's counts.

    References and known images go into sorted files; what crosses a shuffle are descriptions of these files.

    Attributes:
      purpose: what will be done to the images; part of each shard's name.
      directory: address of a directory of this run alone, for the files; every worker reaches it.
      shard_size: images a shard, about.
      scopes: beginnings of addresses; who is known there and not listed counts as removed.
      table: of which known images are dropped; None to drop none.
      version: the table's.
      split: that images without a split of their own fall into; a stored row of another split is relabelled.
      views: that an image of the training split has in the table; one that lacks them, or has others, is done again.
    """

    purpose: str
    directory: str
    shard_size: int = 1000
    scopes: tuple[str, ...] = ()
    table: str | None = None
    version: int | None = None
    split: SplitRatios | None = None
    views: Views = NO_VIEWS

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise OptionError(f"--shard-size must be positive, got {self.shard_size}")

    def expand(self, references: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection, beam.PCollection]:
        """Sorts, joins and cuts; returns shards, pairs ``(count, number)`` and pairs ``(file of the gone, ids)``."""
        pipeline = references.pipeline
        listed = references | "ListedRow" >> beam.Map(_listed_row) | "SortListed" >> self._sorted(LISTED_SCHEMA)
        known = pipeline | "DataFiles" >> beam.Create(data_files := self._data_files(), reshuffle=bool(data_files))
        if data_files:
            known = known | "KnownRows" >> beam.FlatMap(known_rows, self.scopes, self.split, self.views)
            known = known | "SortKnown" >> self._sorted(KNOWN_SCHEMA)
        sides = (beam.pvalue.AsList(listed), beam.pvalue.AsList(known))
        planned = (
            pipeline
            | "Everything" >> beam.Create([None])
            | "SplitRanges" >> beam.FlatMap(_ranges, *sides)
            | "SpreadRanges" >> beam.Reshuffle()
            | "PlanRange" >> beam.Map(_plan_range, *sides, split=self.split, directory=self.directory)
        )
        total = planned | "TodoRows" >> beam.Map(_todo_rows) | "CountTodo" >> beam.CombineGlobally(sum)
        shards = (
            planned
            | "CutFiles" >> beam.FlatMap(_cut, beam.pvalue.AsSingleton(total), self.shard_size)
            | "GroupCuts" >> beam.GroupByKey()
            | "JoinCuts" >> beam.FlatMap(_join, self.purpose)
        )
        counts = planned | "Counts" >> beam.FlatMap(_counts) | "SumCounts" >> beam.CombinePerKey(sum)
        return shards, counts, planned | "Gone" >> beam.FlatMap(_gone)

    def _sorted(self, schema: pa.Schema) -> beam.PTransform:
        return beam.ParDo(_WriteRuns(self.directory, schema))

    def _data_files(self) -> list[str]:
        if self.table is None or self.version is None:
            return []
        return [file.uri for file in FeatureTable.open(self.table, self.version).data_files()]


class _WriteRuns(beam.DoFn):  # type: ignore[misc]
    """Rows to Runs. A bundle that is repeated writes files of its own; those of the lost attempt are read by nobody."""

    def __init__(self, directory: str, schema: pa.Schema) -> None:
        self._directory, self._schema = directory, schema

    def start_bundle(self) -> None:
        self._runs = RunWriter(self._directory, self._schema)

    def process(self, row: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        run = self._runs.add(row)
        if run is not None:
            yield tuple(run)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        run = self._runs.flush()
        if run is not None:
            yield WindowedValue(tuple(run), GlobalWindow().max_timestamp(), [GlobalWindow()])


def images_of(shard: tuple[Any, ...]) -> int:
    """Returns how many images a packed PlannedShard has."""
    return PlannedShard(*shard).images


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
        self._heartbeat.add(planned=self._count(shard))
        yield shard

    def finish_bundle(self) -> None:
        self._heartbeat.add(now=True)


def _listed_row(fields: tuple[Any, ...]) -> tuple[Any, ...]:
    return listed_row(ImageReference.unpack(fields))


def _ranges(_: None, *sides: Iterable[tuple[Any, ...]]) -> Iterator[KeyRange]:
    return split_ranges([Run(*run) for runs in sides for run in runs])


def _plan_range(
    keys: KeyRange,
    listed: Iterable[tuple[Any, ...]],
    known: Iterable[tuple[Any, ...]],
    split: SplitRatios | None,
    directory: str,
) -> tuple[Any, ...]:
    def rows(runs: Iterable[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
        return read_range([Run(*run) for run in runs], keys, schema)

    planned = tuple(plan_range(rows(listed, LISTED_SCHEMA), rows(known, KNOWN_SCHEMA), split, directory))
    pa.default_memory_pool().release_unused()  # which keeps some 100 MB otherwise, beneath all that follows
    return planned


def _todo_rows(planned: tuple[Any, ...]) -> int:
    return PlannedRange(*planned).todo_rows


def _cut(planned: tuple[Any, ...], total: int, shard_size: int) -> Iterator[tuple[bytes, tuple[str, bytes]]]:
    todo = PlannedRange(*planned).todo
    return cut_file(todo, total, shard_size) if todo else iter(())


def _join(keyed: tuple[bytes, Iterable[tuple[str, bytes]]], purpose: str) -> Iterator[tuple[Any, ...]]:
    return (tuple(shard) for shard in join_cuts(keyed[1], purpose))


def _counts(planned: tuple[Any, ...]) -> Iterable[tuple[str, int]]:
    return PlannedRange(*planned).counts.items()


def _gone(planned: tuple[Any, ...]) -> Iterator[tuple[str, int]]:
    found = PlannedRange(*planned)
    if found.gone:
        yield found.gone, found.gone_rows

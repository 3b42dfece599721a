"""Index: the contents of a large table, sorted into files where workers look up what was embedded before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from transforms.files.runs import KeyRange, Run, split_ranges
from transforms.store import index
from transforms.store.table import FeatureTable


@dataclasses.dataclass(kw_only=True)
class IndexContents(beam.PTransform):
    """A pipeline to packed Runs of contents; none for a table so small that each worker indexes it by itself.

    Attributes:
      table: whose contents are known; None for none.
      version: the table's.
      directory: address of a directory of this run alone, for the files; every worker reaches it.
    """

    table: str
    version: int | None
    directory: str

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Sorts each data file, then each range of keys of all of them."""
        data_files = self._data_files()
        if not data_files:
            return pipeline | "NoContents" >> beam.Create([], reshuffle=False)
        files = pipeline | "IndexedFiles" >> beam.Create(data_files, reshuffle=True)
        runs = beam.pvalue.AsList(files | "SortContents" >> beam.FlatMap(_write, self.directory))
        return (
            pipeline
            | "AllContents" >> beam.Create([None])
            | "SplitContents" >> beam.FlatMap(_ranges, runs)
            | "SpreadContents" >> beam.Reshuffle()
            | "JoinContents" >> beam.FlatMap(_join, runs, directory=self.directory)
        )

    def _data_files(self) -> list[tuple[int, str]]:
        files = [] if self.version is None else FeatureTable.open(self.table, self.version).data_files()
        if sum(file.rows for file in files) <= index.ROWS_IN_MEMORY:
            return []
        return [(number, file.uri) for number, file in enumerate(files)]


def _write(numbered: tuple[int, str], directory: str) -> Iterator[tuple[Any, ...]]:
    return map(tuple, index.write_content_runs(*numbered, directory))


def _ranges(_: None, runs: Iterable[tuple[Any, ...]]) -> Iterator[KeyRange]:
    return split_ranges([Run(*run) for run in runs])


def _join(keys: KeyRange, runs: Iterable[tuple[Any, ...]], directory: str) -> Iterator[tuple[Any, ...]]:
    return map(tuple, index.join_content_runs([Run(*run) for run in runs], keys, directory))

"""Verifies a version of a table: everything that a reader relies on, file by file and with bounded memory."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import CommitError, HeliographError, StoreError
from transforms.files.filesystem import open_filesystem
from transforms.store.check import check_parts
from transforms.store.delta import DataFile
from transforms.store.files import list_data_files, marked_parts
from transforms.store.log import live_files
from transforms.store.read import file_errors, read_file, vectors_of
from transforms.store.schema import conform, subset
from transforms.store.table import FeatureTable
from transforms.store.write import Part

_ROWS_A_PASS = 50_000_000
"""Row keys that are held at a time: 400 MB; a larger table is read in several passes."""

_KEY_COLUMNS = ("image_id", "view_id")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found.

    Attributes:
      table: its path.
      version: that was verified.
      files: data files of it.
      rows: of it.
      problems: a sentence each; the table is sound when there are none.
      orphans: data files that no version has and no unfinished run counts on, relative to the table.
      golden: whether the encoder was loaded and gave the golden vectors again.
    """

    table: str
    version: int
    files: int
    rows: int
    problems: tuple[str, ...]
    orphans: tuple[str, ...]
    golden: bool

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {**dataclasses.asdict(self), "problems": list(self.problems), "orphans": list(self.orphans)}


def verify_table(table: FeatureTable, check_golden: Callable[[FeatureTable], None] | None = None) -> Verification:
    """Verifies footers, row counts, schema, encoder, vectors, keys and golden vectors, and finds orphans.

    Args:
      check_golden: loads the encoder and compares; raises a HeliographError when the encoder cannot be
        loaded or gives other vectors. None leaves it out.
    """
    files = table.data_files()
    problems: list[str] = []
    whole = [file for file in files if _is_whole(table, file, problems)]
    problems += itertools.chain.from_iterable(_check_values(table, file) for file in whole)
    problems += _duplicates(whole)
    if not (np.isfinite(table.golden).all() and table.golden.any()):
        problems.append("the golden vectors of the table are not finite, or all zero")
    if check_golden is not None:
        try:
            check_golden(table)
        except HeliographError as error:
            problems.append(f"golden vectors: {error}")
    return Verification(
        table=table.path,
        version=table.version,
        files=len(files),
        rows=sum(max(file.rows, 0) for file in files),
        problems=tuple(problems),
        orphans=tuple(find_orphans(table.path)),
        golden=check_golden is not None,
    )


def find_orphans(path: str) -> list[str]:
    """Returns the files below ``data/`` that no version has and that no finished shard of a run names."""
    referenced: set[str] = set(marked_parts(path))
    for _, _, live in live_files(path):
        referenced.update(live)
    return sorted(info.name for info in list_data_files(path) if info.name not in referenced)


def _is_whole(table: FeatureTable, file: DataFile, problems: list[str]) -> bool:
    """Checks a file's footer against the log and the table; tells whether its rows can be read."""
    if file.rows < 0:
        problems.append(f"{file.path}: the log does not know its number of rows")
    rows = file.rows if file.rows >= 0 else _footer_rows(file)
    try:
        check_parts(table.path, [Part(file.path, rows, file.size)], table.schema, table.specification.fingerprint)
    except CommitError as error:
        text = str(error).removeprefix("part ").removesuffix("; run again")
        problems.append(text.replace("were written", "are in the log"))
        return not any(words in text for words in ("does not exist", "cannot be read", "bytes,", "has another schema"))
    return True


def _footer_rows(file: DataFile) -> int:
    try:
        system, path = open_filesystem(file.uri)
        with system.open_input_file(path) as source:
            return int(pq.ParquetFile(source).metadata.num_rows)
    except (OSError, pa.ArrowException):
        return -1  # check_parts says what is wrong


def _check_values(table: FeatureTable, file: DataFile) -> Iterator[str]:
    """Yields what is wrong with the rows of a file: keys, vectors, values that are not finite."""
    root, path = open_filesystem(file.uri)
    schema = subset(table.schema, [*_KEY_COLUMNS, "embedding"])
    null = infinite = 0
    try:
        with file_errors(file.path), root.open_input_file(path) as source:
            for batch in pq.ParquetFile(source).iter_batches(4096, columns=schema.names, use_threads=False):
                rows = conform(pa.Table.from_batches([batch]), schema)
                null += rows.column("image_id").null_count + rows.column("view_id").null_count
                for vectors in vectors_of(rows.column("embedding"), table.specification.dimension, file.path):
                    infinite += int((~np.isfinite(vectors).all(axis=1)).sum())
    except StoreError as error:
        yield str(error)
    if null:
        yield f"{file.path}: {null} rows have no image_id or view_id"
    if infinite:
        yield f"{file.path}: {infinite} vectors have NaN or infinity"


def _duplicates(files: Sequence[DataFile]) -> list[str]:
    """Finds images that have one view in two rows: 64-bit digests first, then the ids themselves."""
    passes = max(1, -(-sum(max(file.rows, 0) for file in files) // _ROWS_A_PASS))
    twice: collections.Counter[tuple[str, int]] = collections.Counter()
    for number in range(passes):
        digests = [keys[keys % np.uint64(passes) == number] for keys in map(_digests, files)]
        values = np.sort(np.concatenate([np.zeros(0, np.uint64), *digests]))
        suspects = set(values[1:][values[1:] == values[:-1]].tolist())
        if suspects:
            twice.update(key for file in files for key in _keys(file) if _digest(key) in suspects)
    found = sorted((key, count) for key, count in twice.items() if count > 1)
    if not found:
        return []
    (image_id, view), count = found[0]
    return [f"{len(found)} images are there more than once; for example view {view} of {image_id}, {count} times"]


def _keys(file: DataFile) -> Iterator[tuple[str, int]]:
    try:
        for batch in read_file(file.uri, _KEY_COLUMNS, 65536):
            yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
    except StoreError:
        return  # reported where its values were checked


def _digests(file: DataFile) -> np.ndarray:
    return np.fromiter(map(_digest, _keys(file)), np.uint64)


def _digest(key: tuple[str, int]) -> int:
    words = f"{key[0]}\0{key[1]}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big")

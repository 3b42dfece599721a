"""Vectors by content: what was embedded once is found again, wherever the file has moved to."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.files.filesystem import open_filesystem
from transforms.files.runs import RUN_ROWS, KeyRange, Run, read_range, split_ranges, write_run
from transforms.files.threads import map_in_threads
from transforms.store.delta import DataFile
from transforms.store.read import file_errors, vectors_of
from transforms.store.schema import VIEWS_KEY, conform, feature_schema, subset
from transforms.store.table import FeatureTable

if TYPE_CHECKING:
    from transforms.images.augment import Views

ROWS_IN_MEMORY = 5_000_000
"""Of a table whose index each worker holds, 120 MB; for a larger one the graph sorts the digests into files."""

REMEMBERED = 4096
"""Look-ups in files whose answer is kept: for an image that was known, its vector and its views are asked for next."""

_KEY_BYTES = 16
CONTENT_SCHEMA = pa.schema([("key", pa.binary(_KEY_BYTES)), ("file", pa.uint32()), ("row", pa.uint32())])
"""Where a content is: the first half of its digest, number of the data file, row."""

_ROW_BITS = 32
_HEX = 64


class StoredImage(NamedTuple):
    """An image of a table, by its id and address."""

    image_id: str
    image_uri: str


class ContentIndex:
    """Finds the vector of an image's SHA-256 among the rows of view 0.

    Holds 24 bytes a row: 16 of the digest, sorted, and where the row is. The digest's other half is compared
    when the row is read.

    Args:
      table: at the version whose rows are known.

    Raises:
      StoreError: for a file that is missing or damaged.
    """

    def __init__(self, table: FeatureTable) -> None:
        self._dimension = table.specification.dimension
        self._files = table.data_files()
        digests, places = [], []
        for number, file in enumerate(self._files):
            digest, rows = _digests(file.uri)
            digests.append(digest)
            places.append(rows | np.uint64(number << _ROW_BITS))
        table_of = np.concatenate(digests) if digests else np.zeros((0, 2), dtype=np.uint64)
        digests.clear()
        order = np.argsort(table_of[:, 0], kind="stable")
        self._high = table_of[order, 0]
        self._low = table_of[order, 1]
        self._places = np.concatenate(places)[order] if places else np.zeros(0, dtype=np.uint64)

    def __len__(self) -> int:
        """The number of rows that can be found."""
        return len(self._high)

    @property
    def nbytes(self) -> int:
        """Bytes that the index holds."""
        return int(self._high.nbytes + self._low.nbytes + self._places.nbytes)

    def knows(self, sha256: str) -> bool:
        """Returns whether a content may be known: the first half of its digest is. For several threads at once."""
        return any(self._places_of([sha256]))

    def find(self, sha256: Iterable[str]) -> dict[str, np.ndarray]:
        """Returns the vectors of the digests that are known, ``{sha256: float32[D]}``, exactly as stored.

        Only the row groups that hold a wanted row are read, each once.
        """
        found: dict[str, np.ndarray] = {}
        wanted: dict[str, tuple[int, int]] = {}
        for digest, place in self._places_of(sha256):
            wanted.setdefault(digest, place)
        for rows in self._read(((place, digest) for digest, place in wanted.items()), ["embedding"]):
            vectors = np.concatenate(list(vectors_of(rows.column("embedding"), self._dimension, "the table")))
            for digest, vector in zip(rows.column("sha256").to_pylist(), vectors, strict=True):
                found[digest] = vector.copy()
        return found

    def find_views(self, sha256: Iterable[str], views: Views) -> dict[str, list[np.ndarray]]:
        """Returns the first views, without a gap, of contents of which some are known, ``{sha256: [float32[D], …]}``.

        The views of an image are the rows behind its own; those of another policy are passed over.
        """
        found: dict[str, dict[int, np.ndarray]] = {}
        places = ((place, digest) for digest, place in self._places_of(sha256))
        wanted = (
            ((file, row + number), digest) for (file, row), digest in places for number in range(1, views.count + 1)
        )
        for rows in self._read(wanted, ["view_id", "attributes", "embedding"]):
            vectors = np.concatenate(list(vectors_of(rows.column("embedding"), self._dimension, "the table")))
            digests, numbers, attributes = (
                rows.column(name).to_pylist() for name in ("sha256", "view_id", "attributes")
            )
            for digest, number, pairs, vector in zip(digests, numbers, attributes, vectors, strict=True):
                if (VIEWS_KEY, views.key) in pairs:
                    found.setdefault(digest, {})[number] = vector.copy()
        return {
            digest: [known[number] for number in itertools.takewhile(known.__contains__, range(1, views.count + 1))]
            for digest, known in found.items()
        }

    def locate(self, sha256: Iterable[str]) -> dict[str, list[StoredImage]]:
        """Returns the images that have each of the digests that are known."""
        found: dict[str, list[StoredImage]] = {}
        wanted = ((place, digest) for digest, place in self._places_of(sha256))
        for rows in self._read(wanted, ["image_id", "image_uri"]):
            for digest, *image in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                found.setdefault(digest, []).append(StoredImage(*image))
        return found

    def _read(self, wanted: Iterable[tuple[tuple[int, int], str]], columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yields the wanted rows, ``sha256`` and some columns, a row group at a time."""
        by_file: dict[int, dict[int, list[str]]] = {}
        for (number, row), digest in wanted:
            by_file.setdefault(number, {}).setdefault(row, []).append(digest)
        for number in sorted(by_file):
            yield from _read_rows(self._files[number], by_file[number], ["sha256", *columns])

    def _places_of(self, sha256: Iterable[str]) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yields each digest with each place, number of file and row, where its first half is."""
        for digest in dict.fromkeys(sha256):
            key = _key(digest)
            for place in self._lookup(key) if key else ():
                yield digest, place

    def _lookup(self, key: bytes) -> Iterator[tuple[int, int]]:
        high, low = np.frombuffer(key, dtype=">u8").astype(np.uint64)
        at = int(np.searchsorted(self._high, high))
        while at < len(self._high) and self._high[at] == high:
            if self._low[at] == low:
                place = int(self._places[at])
                yield place >> _ROW_BITS, place & (2**_ROW_BITS - 1)
            at += 1


class SortedContentIndex(ContentIndex):
    """The same for a table of any size: the digests lie in sorted files, of which a row group is read a look-up.

    Args:
      table: at the version whose rows are known.
      runs: of CONTENT_SCHEMA, one after the other in the order of keys; see write_content_runs and join_content_runs.
    """

    def __init__(self, table: FeatureTable, runs: Sequence[Run]) -> None:
        self._dimension = table.specification.dimension
        self._files = table.data_files()
        self._runs = sorted(runs, key=lambda run: run.keys)
        self._firsts = [run.keys[0] for run in self._runs]
        self._remembered = functools.lru_cache(REMEMBERED)(self._look_up)

    def __len__(self) -> int:
        """The number of rows that can be found."""
        return sum(run.rows for run in self._runs)

    def knows(self, sha256: str) -> bool:
        """As ContentIndex.knows; reads a row group, which the next question about the digest does not."""
        key = _key(sha256)
        return bool(key and self._remembered(key))

    def _places_of(self, sha256: Iterable[str]) -> Iterator[tuple[str, tuple[int, int]]]:
        keys = {digest: key for digest in dict.fromkeys(sha256) if (key := _key(digest))}
        for digest, places in zip(keys, map_in_threads(self._remembered, list(keys.values())), strict=True):
            for place in places:
                yield digest, place

    def _look_up(self, key: bytes) -> list[tuple[int, int]]:
        run = self._runs[max(0, bisect.bisect_right(self._firsts, key) - 1)]
        following = int.from_bytes(key, "big") + 1
        end = following.to_bytes(_KEY_BYTES, "big") if following < 1 << 8 * _KEY_BYTES else None
        rows = read_range([run], (key, end), CONTENT_SCHEMA)
        return list(zip(rows["file"].to_pylist(), rows["row"].to_pylist(), strict=True))


def write_content_runs(number: int, data_file: str, directory: str) -> Iterator[Run]:
    """Yields sorted runs of the digests of one data file; ``number`` is its place in FeatureTable.data_files."""
    halves, rows = _digests(data_file)
    for start in range(0, len(rows), RUN_ROWS):
        some = slice(start, start + RUN_ROWS)
        count = len(rows[some])
        packed = pa.py_buffer(np.ascontiguousarray(halves[some]).astype(">u8").tobytes())
        keys = pa.FixedSizeBinaryArray.from_buffers(CONTENT_SCHEMA.field("key").type, count, [None, packed])
        files = np.full(count, number, np.uint32)
        yield write_run(directory, pa.table([keys, files, rows[some].astype(np.uint32)], schema=CONTENT_SCHEMA))


def join_content_runs(runs: Sequence[Run], keys: KeyRange, directory: str) -> Iterator[Run]:
    """Yields the one run, if any, of all digests of a range of keys."""
    rows = read_range(runs, keys, CONTENT_SCHEMA)
    if len(rows):
        yield write_run(directory, rows)


def open_index(table: FeatureTable, directory: str) -> ContentIndex:
    """Returns the index of a table, with its files, if it needs any, in a directory of this process alone."""
    files = table.data_files()
    if sum(file.rows for file in files) <= ROWS_IN_MEMORY:
        return ContentIndex(table)
    runs = [run for number, file in enumerate(files) for run in write_content_runs(number, file.uri, directory)]
    joined = [run for keys in split_ranges(runs) for run in join_content_runs(runs, keys, directory)]
    return SortedContentIndex(table, joined)


def _key(digest: str) -> bytes:
    """Returns the first half of a digest, empty when it is none."""
    try:
        key = bytes.fromhex(digest)[:_KEY_BYTES]
    except ValueError:
        return b""
    return key if len(key) == _KEY_BYTES else b""


def _digests(data_file: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the first 16 bytes of each digest as ``uint64[n, 2]`` and its row number as ``uint64[n]``."""
    root, path = open_filesystem(data_file)
    halves, rows = [np.zeros((0, 2), dtype=np.uint64)], [np.zeros(0, dtype=np.uint64)]
    start = 0
    with file_errors(path), root.open_input_file(path) as source:
        batches = pq.ParquetFile(source).iter_batches(65536, columns=["sha256", "view_id"], use_threads=False)
        for batch in batches:
            good = batch.column("view_id").to_numpy(zero_copy_only=False) == 0
            column = batch.column("sha256").cast(pa.string())
            good &= np.equal(pc.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False), _HEX)
            text = "".join(column.filter(pa.array(good)).to_pylist())
            packed = np.frombuffer(bytes.fromhex(text), dtype=">u8").reshape(-1, 4)
            halves.append(packed[:, :2].astype(np.uint64))
            rows.append(np.flatnonzero(good).astype(np.uint64) + np.uint64(start))
            start += batch.num_rows
    return np.concatenate(halves), np.concatenate(rows)


def _read_rows(file: DataFile, wanted: Mapping[int, list[str]], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yields some rows, a row group at a time; a row whose digest is none of the wanted ones is left out."""
    root, path = open_filesystem(file.uri)
    schema = subset(feature_schema(0).remove_metadata(), columns)
    with file_errors(path), root.open_input_file(path) as source:
        parquet = pq.ParquetFile(source)
        for group, first, count in _row_groups(parquet.metadata):
            rows = [row - first for row in wanted if first <= row < first + count]
            if not rows:
                continue
            stored = conform(parquet.read_row_group(group, columns=schema.names, use_threads=False), schema).take(rows)
            digests = stored.column("sha256").to_pylist()
            right = [digest in wanted[first + row] for row, digest in zip(rows, digests, strict=True)]
            if any(right):
                yield stored.filter(pa.array(right, pa.bool_()))


def _row_groups(footer: Any) -> Iterator[tuple[int, int, int]]:
    """Yields number, first row and row count of each row group."""
    first = 0
    for group in range(footer.num_row_groups):
        count = footer.row_group(group).num_rows
        yield group, first, count
        first += count

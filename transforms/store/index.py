"""Vectors by content: what was embedded once is found again, wherever the file has moved to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.files.filesystem import open_filesystem
from transforms.store.delta import DataFile
from transforms.store.read import file_errors, vectors_of
from transforms.store.schema import conform, feature_schema, subset
from transforms.store.table import FeatureTable

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
            digest, rows = _digests(file)
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

    def find(self, sha256: Iterable[str]) -> dict[str, np.ndarray]:
        """Returns the vectors of the digests that are known, ``{sha256: float32[D]}``, exactly as stored.

        Only the row groups that hold a wanted row are read, each once.
        """
        found: dict[str, np.ndarray] = {}
        wanted = [(place, digest) for digest in dict.fromkeys(sha256) for place in islice(self._lookup(digest), 1)]
        for rows in self._read(wanted, ["embedding"]):
            vectors = np.concatenate(list(vectors_of(rows.column("embedding"), self._dimension, "the table")))
            for digest, vector in zip(rows.column("sha256").to_pylist(), vectors, strict=True):
                found[digest] = vector.copy()
        return found

    def locate(self, sha256: Iterable[str]) -> dict[str, list[StoredImage]]:
        """Returns the images that have each of the digests that are known."""
        found: dict[str, list[StoredImage]] = {}
        wanted = [(place, digest) for digest in dict.fromkeys(sha256) for place in self._lookup(digest)]
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

    def _lookup(self, digest: str) -> Iterator[tuple[int, int]]:
        try:
            high, low = np.frombuffer(bytes.fromhex(digest)[:16], dtype=">u8").astype(np.uint64)
        except ValueError:  # not a digest: unknown
            return
        at = int(np.searchsorted(self._high, high))
        while at < len(self._high) and self._high[at] == high:
            if self._low[at] == low:
                place = int(self._places[at])
                yield place >> _ROW_BITS, place & (2**_ROW_BITS - 1)
            at += 1


def _digests(file: DataFile) -> tuple[np.ndarray, np.ndarray]:
    """Reads the first 16 bytes of each digest as ``uint64[n, 2]`` and its row number as ``uint64[n]``."""
    root, path = open_filesystem(file.uri)
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

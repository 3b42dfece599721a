"""Sorted runs: rows with a key in Parquet files, written as they come and read again range by range.

What is too large to be sorted in memory is written in runs of bounded size, each sorted by key; whoever takes a range
of keys reads that range of every run. Only the small descriptions of the runs travel.
"""

from __future__ import annotations

import bisect
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from transforms.files.filesystem import is_local, join, open_filesystem

KEY_BYTES = 20
KEY = pa.field("key", pa.binary(KEY_BYTES))
"""The first column of a run of images; other runs have keys of another width."""

RUN_ROWS = 1 << 16
RUN_BYTES = 32 << 20
"""A run is written when it has so many rows, or bytes of payload."""

GROUP_ROWS = 1024
"""Rows of a row group: the least that is read of a run; a Run has the first key of each."""

RANGE_ROWS = 1 << 14
"""Rows of a range, about: what the join of two sides holds at once."""

RANGES, MAX_RANGE_ROWS = 256, 1 << 20
"""When there would be more ranges than this, they grow: up to a million rows, some 300 MB."""

LOCAL_THREADS, REMOTE_THREADS = 2, 16
"""That read pieces of runs: each costs some 20 MB, and an object store answers slowly."""

Keys = npt.NDArray[np.bytes_]
KeyRange = tuple[bytes, bytes | None]
"""From the first key on, up to but without the second; None for no end."""


class Run(NamedTuple):
    """A sorted file.

    Attributes:
      address: of the file.
      rows: in it.
      keys: the first key of each row group.
    """

    address: str
    rows: int
    keys: tuple[bytes, ...]

    def groups(self, first: bytes, end: bytes | None) -> list[int]:
        """Returns the row groups that may hold keys of a range; rows of one key may lie in several."""
        low = max(0, bisect.bisect_left(self.keys, first) - 1)
        high = len(self.keys) if end is None else bisect.bisect_left(self.keys, end)
        return list(range(low, high))


class RunWriter:
    """Collects rows and writes them as runs; row groups of them wait as Arrow, in a third of the memory.

    Args:
      directory: address of the directory where the runs go, under names that no other attempt has.
      schema: of the rows; the first column is the key. The last one's bytes are counted.
    """

    def __init__(self, directory: str, schema: pa.Schema) -> None:
        self._directory, self._schema = directory, schema
        self._clear()

    def add(self, row: Sequence[Any]) -> Run | None:
        """Takes a row; returns the run that is full with it."""
        self._rows.append(row)
        self._count += 1
        self._bytes += len(row[-1])
        if len(self._rows) >= GROUP_ROWS:
            self._pack()
        return self.flush() if self._count >= RUN_ROWS or self._bytes >= RUN_BYTES else None

    def flush(self) -> Run | None:
        """Writes what is there; returns None when that is nothing."""
        self._pack()
        if not self._packed:
            return None
        rows = pa.Table.from_batches(self._packed, schema=self._schema)
        self._clear()
        return write_run(self._directory, rows)

    def _pack(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, field.type) for field, column in zip(self._schema, columns, strict=True)]
            self._packed.append(pa.record_batch(arrays, schema=self._schema))
            self._rows.clear()

    def _clear(self) -> None:
        self._rows: list[Sequence[Any]] = []
        self._packed: list[pa.RecordBatch] = []
        self._count = self._bytes = 0


def write_run(directory: str, rows: pa.Table) -> Run:
    """Writes rows, sorted by key, to a file of their own."""
    keys = keys_of(rows)
    order = np.argsort(keys, kind="stable")
    address = write_rows(directory, rows.take(order))
    samples = keys[order[::GROUP_ROWS]]
    return Run(address, len(keys), tuple(key.ljust(keys.itemsize, b"\0") for key in samples.tolist()))


def write_rows(directory: str, rows: pa.Table) -> str:
    """Writes rows as they are; returns the address of their file, whose name no other attempt has."""
    address = join(directory, f"{uuid.uuid4().hex}.parquet")
    filesystem, path = open_filesystem(address)
    filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
    with filesystem.open_output_stream(path) as stream:
        pq.write_table(rows, stream, row_group_size=GROUP_ROWS, write_statistics=False, compression="lz4")
    return address


def remove_directory(directory: str) -> None:
    """Removes a directory of runs; one that is gone is as good."""
    filesystem, path = open_filesystem(directory)
    if filesystem.get_file_info(path).type == fs.FileType.Directory:
        filesystem.delete_dir(path)


def keys_of(rows: pa.Table) -> Keys:
    """Returns the keys as ``S<width>[N]``, which compare like the bytes."""
    column = rows["key"]
    kind = f"S{column.type.byte_width}"
    chunks = [np.frombuffer(c.buffers()[1], kind)[c.offset : c.offset + len(c)] for c in column.chunks if len(c)]
    return np.concatenate([np.zeros(0, kind), *chunks])


def split_ranges(runs: Sequence[Run], rows: int | None = None) -> Iterator[KeyRange]:
    """Yields ranges of keys that cover everything, each with about ``rows`` rows of all runs together."""
    total = sum(run.rows for run in runs)
    wanted = rows or max(RANGE_ROWS, min(total // RANGES, MAX_RANGE_ROWS))
    samples = sorted(
        (key, min(GROUP_ROWS, run.rows - number * GROUP_ROWS)) for run in runs for number, key in enumerate(run.keys)
    )
    first, held = b"", 0
    for key, weight in samples:
        if held >= wanted and key != first:
            yield first, key
            first, held = key, 0
        held += weight
    yield first, None


def read_range(runs: Sequence[Run], keys: KeyRange, schema: pa.Schema) -> pa.Table:
    """Reads the rows of a range from every run, sorted by key; rows of one key keep the order of the runs."""
    if len(runs) == 1:  # a look-up, which a thread would make longer
        pieces = [_read_piece(runs[0], keys, schema)]
    else:
        threads = LOCAL_THREADS if all(is_local(run.address) for run in runs) else REMOTE_THREADS
        with ThreadPoolExecutor(threads) as pool:
            pieces = list(pool.map(lambda run: _read_piece(run, keys, schema), runs))
    rows = pa.concat_tables([schema.empty_table(), *(piece for piece in pieces if piece is not None)])
    del pieces
    return rows.take(np.argsort(keys_of(rows), kind="stable"))


def read_rows(address: str, groups: Sequence[int] | None, columns: Sequence[str]) -> pa.Table:
    """Reads some columns of some row groups of a file, of all by default."""
    filesystem, path = open_filesystem(address)
    with filesystem.open_input_file(path) as source:
        file = pq.ParquetFile(source, pre_buffer=False)
        chosen = range(file.num_row_groups) if groups is None else groups
        return file.read_row_groups(list(chosen), columns=list(columns), use_threads=False)


def _read_piece(run: Run, keys: KeyRange, schema: pa.Schema) -> pa.Table | None:
    first, end = keys
    groups = run.groups(first, end)
    if not groups:
        return None
    rows = read_rows(run.address, groups, schema.names)
    found = keys_of(rows)
    begin = int(np.searchsorted(found, first))
    stop = len(found) if end is None else int(np.searchsorted(found, end))
    return rows.take(np.arange(begin, stop)) if stop > begin else None  # a slice would keep all groups alive

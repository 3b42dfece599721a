"""Finds and takes out the rows that a commit replaces, file by file and with bounded memory."""

from __future__ import annotations

import itertools
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from transforms.errors import CommitError
from transforms.files.filesystem import join, open_filesystem
from transforms.files.runs import RUN_ROWS, Run, keys_of, read_range, split_ranges, write_run
from transforms.store.check import add_action
from transforms.store.delta import DataFile, data_files, one_line
from transforms.store.schema import conform
from transforms.store.write import ROW_GROUP_ROWS, PartWriter

_ROWS_AT_ONCE = 1_000_000
"""Ids that are compared in one go, some 40 MB on either side; more are joined in sorted files."""

_THREADS = 4
_ID_BYTES = 32
_ID_SCHEMA = pa.schema([("key", pa.binary(_ID_BYTES)), ("file", pa.int32()), ("row", pa.int64())])


class Superseded:
    """The rows of live files that must go when the parts of a run come.

    Data files never change, so each is examined and rewritten once, however often the commit is tried again.

    Args:
      root: path or address of the table.
      parts: paths of the parts, relative to the table.
      replaced_ids: images whose rows go wherever they are.
      replaced_in: files with a column ``image_id`` of more such images, relative to the table.
    """

    def __init__(
        self, root: str, parts: Sequence[str], replaced_ids: Iterable[str] = (), replaced_in: Sequence[str] = ()
    ) -> None:
        self.root = root
        self._parts = parts
        self._replaced = pa.array(sorted(set(replaced_ids)), type=pa.string())
        self._replaced_in = replaced_in
        self._examined: set[tuple[str, bool]] = set()
        self._masks: dict[str, np.ndarray] = {}
        self._rows: dict[str, int] = {}
        self._rewritten: dict[str, AddAction | None] = {}

    def __bool__(self) -> bool:
        """Tells whether images go wherever they are."""
        return bool(len(self._replaced) or self._replaced_in)

    def find(self, live: Sequence[DataFile], known: set[str]) -> list[DataFile]:
        """Returns the live files that lose rows.

        A file that the run knew when it began (``known``) can only hold what it replaces on purpose. One that
        came since may hold any image of the run, because two runs embedded it: the later commit wins.
        """
        if self:
            ids = itertools.chain([self._replaced], read_ids(self.root, self._replaced_in))
            self._examine([file for file in live if (file.path, False) not in self._examined], ids)
            self._examined.update((file.path, False) for file in live)
        fresh = [f for f in live if f.path not in known and (f.path, True) not in self._examined]
        if fresh and self._parts:
            self._examine(fresh, read_ids(self.root, self._parts))
            self._examined.update((file.path, True) for file in fresh)
        return [file for file in live if file.path in self._masks]

    def rewrite(self, file: DataFile, schema: pa.Schema, metadata: dict[str, str]) -> AddAction | None:
        """Writes the rows of ``file`` that stay to a new file; None when none stays.

        Raises:
          CommitError: when ``file`` cannot be read or the new one not be written.
        """
        if file.path not in self._rewritten:
            keep = np.unpackbits(self._masks[file.path], count=self._rows[file.path]) == 0
            stays = bool(keep.any())
            try:
                action = _copy_rows(self.root, file, keep, schema, metadata) if stays else None
            except (OSError, pa.ArrowException) as error:
                raise CommitError(f"{file.path} cannot be rewritten ({one_line(error)}); run again") from error
            self._rewritten[file.path] = action
        return self._rewritten[file.path]

    def discard(self, log: DeltaTable) -> None:
        """Deletes the rewritten files that are not live in ``log``, the version in which they would be."""
        if not any(self._rewritten.values()):
            return
        used = {file.path for file in data_files(log, self.root)}
        files, base = open_filesystem(self.root)
        for action in self._rewritten.values():
            if action is not None and action.path not in used:
                try:
                    files.delete_file(join(base, action.path))
                except OSError:
                    continue  # an orphan, which vacuum finds

    def _examine(self, live: Sequence[DataFile], ids: Iterable[pa.Array]) -> None:
        """Compares in memory what fits; what does not is joined on this machine's disk, both sides sorted."""
        chunks = _chunks(ids) if live else iter(())
        wanted, more = next(chunks, None), next(chunks, None)
        if wanted is None:
            return
        if more is not None:
            self._join(live, itertools.chain([wanted, more], chunks))
            return
        for batch in _groups(live):
            columns = list(read_ids(self.root, [file.path for file in batch]))
            hits = pc.is_in(pa.chunked_array(columns, type=pa.string()), value_set=wanted).to_numpy()
            start = 0
            for file, column in zip(batch, columns, strict=True):
                self._mark(file, np.flatnonzero(hits[start : start + len(column)]), len(column))
                start += len(column)

    def _join(self, live: Sequence[DataFile], wanted: Iterable[pa.Array]) -> None:
        with tempfile.TemporaryDirectory(prefix="heliograph-") as directory:
            left = [run for ids in wanted for run in _write_runs(directory, ids, -1)]
            right: list[Run] = []
            lengths: list[int] = []
            for number, ids in enumerate(read_ids(self.root, [file.path for file in live])):
                right += _write_runs(directory, ids, number)
                lengths.append(len(ids))
            for keys in split_ranges([*left, *right]):
                ours, theirs = (read_range(runs, keys, _ID_SCHEMA) for runs in (left, right))
                hits = np.isin(keys_of(theirs), keys_of(ours))
                found = theirs.filter(pa.array(hits))
                files, places = found["file"].to_numpy(), found["row"].to_numpy()
                for number in np.unique(files).tolist():
                    self._mark(live[number], places[files == number], lengths[number])

    def _mark(self, file: DataFile, places: np.ndarray, rows: int) -> None:
        """Remembers rows that go, a bit a row."""
        if len(places):
            mask = np.zeros(rows, bool)
            mask[places] = True
            self._masks[file.path] = self._masks.get(file.path, np.uint8(0)) | np.packbits(mask)
            self._rows[file.path] = rows


def read_ids(root: str, paths: Sequence[str]) -> Iterator[pa.Array]:
    """Yields the column ``image_id`` of each file, a few files ahead."""
    files, base = open_filesystem(root)

    def read(path: str) -> pa.Array:
        try:
            with files.open_input_file(join(base, path)) as source:
                column = pq.ParquetFile(source).read(columns=["image_id"], use_threads=False).column(0)
        except (OSError, pa.ArrowException) as error:
            raise CommitError(f"{path} cannot be read ({one_line(error)})") from error
        return pa.concat_arrays(column.cast(pa.string()).chunks) if column.num_chunks else pa.array([], pa.string())

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(paths), _THREADS * 4):
            yield from pool.map(read, paths[start : start + _THREADS * 4])


def _write_runs(directory: str, ids: pa.Array, file: int) -> Iterator[Run]:
    """Writes ids with the number of their file and their row, as runs of bounded size."""
    for start in range(0, len(ids), RUN_ROWS):
        some = ids.slice(start, RUN_ROWS)
        key = pc.ascii_rpad(some, _ID_BYTES).cast(pa.binary()).cast(pa.binary(_ID_BYTES))
        rows = np.arange(start, start + len(some), dtype=np.int64)
        yield write_run(directory, pa.table([key, np.full(len(some), file, np.int32), rows], schema=_ID_SCHEMA))


def _groups(live: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    group: list[DataFile] = []
    for file in live:
        group.append(file)
        if sum(max(other.rows, 0) for other in group) >= _ROWS_AT_ONCE or len(group) >= 1000:
            yield group
            group = []
    if group:
        yield group


def _chunks(columns: Iterable[pa.Array]) -> Iterator[pa.Array]:
    waiting: list[pa.Array] = []
    rows = 0
    for column in columns:
        waiting.append(column)
        rows += len(column)
        if rows >= _ROWS_AT_ONCE:
            yield pa.concat_arrays(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_arrays(waiting)


def _copy_rows(root: str, file: DataFile, keep: np.ndarray, schema: pa.Schema, metadata: dict[str, str]) -> AddAction:
    files, base = open_filesystem(root)
    plain = schema.remove_metadata()
    name = f"data/part-{uuid.uuid4().hex}.parquet"
    start = 0
    with (
        files.open_input_file(join(base, file.path)) as source,
        PartWriter(root, name, schema, metadata) as writer,
    ):
        for batch in pq.ParquetFile(source).iter_batches(ROW_GROUP_ROWS, columns=schema.names, use_threads=False):
            rows = conform(pa.Table.from_batches([batch]), plain)
            kept = rows.filter(pa.array(keep[start : start + batch.num_rows]))
            start += batch.num_rows
            for piece in kept.to_batches():
                writer.write_batch(piece)
    with files.open_input_file(join(base, name)) as source:
        return add_action(writer.part, pq.ParquetFile(source).metadata)

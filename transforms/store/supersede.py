"""Finds and takes out the rows that a commit replaces, file by file and with bounded memory."""

from __future__ import annotations

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
from transforms.store.check import add_action
from transforms.store.delta import DataFile, data_files, one_line
from transforms.store.schema import conform
from transforms.store.write import ROW_GROUP_ROWS, PartWriter

_ROWS_AT_ONCE = 1_000_000
"""Ids that are compared in one go: some 40 MB on either side."""

_THREADS = 4


class Superseded:
    """The rows of live files that must go when the parts of a run come.

    Data files never change, so each is examined and rewritten once, however often the commit is tried again.

    Args:
      root: path or address of the table.
      parts: paths of the parts, relative to the table.
      replaced_ids: images whose rows go wherever they are.
    """

    def __init__(self, root: str, parts: Sequence[str], replaced_ids: Iterable[str]) -> None:
        self.root = root
        self._parts = parts
        self._replaced = pa.array(sorted(set(replaced_ids)), type=pa.string())
        self._examined: set[tuple[str, bool]] = set()
        self._masks: dict[str, np.ndarray] = {}
        self._rewritten: dict[str, AddAction | None] = {}

    def find(self, live: Sequence[DataFile], known: set[str]) -> list[DataFile]:
        """Returns the live files that lose rows.

        A file that the run knew when it began (``known``) can only hold what it replaces on purpose. One that
        came since may hold any image of the run, because two runs embedded it: the later commit wins.
        """
        if len(self._replaced):
            self._examine([file for file in live if (file.path, False) not in self._examined], [self._replaced])
            self._examined.update((file.path, False) for file in live)
        fresh = [f for f in live if f.path not in known and (f.path, True) not in self._examined]
        if fresh and self._parts:
            self._examine(fresh, _chunks(read_ids(self.root, self._parts)))
            self._examined.update((file.path, True) for file in fresh)
        return [file for file in live if file.path in self._masks]

    def rewrite(self, file: DataFile, schema: pa.Schema, metadata: dict[str, str]) -> AddAction | None:
        """Writes the rows of ``file`` that stay to a new file; None when none stays.

        Raises:
          CommitError: when ``file`` cannot be read or the new one not be written.
        """
        if file.path not in self._rewritten:
            keep = ~self._masks[file.path]
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
        for wanted in ids:
            for batch in _groups(live):
                columns = list(read_ids(self.root, [file.path for file in batch]))
                hits = pc.is_in(pa.chunked_array(columns, type=pa.string()), value_set=wanted).to_numpy()
                start = 0
                for file, column in zip(batch, columns, strict=True):
                    mask = hits[start : start + len(column)]
                    start += len(column)
                    if mask.any():
                        self._masks[file.path] = self._masks.get(file.path, False) | mask


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

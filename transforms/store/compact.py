"""Compacts a table: small files become large ones in one commit; no row changes and no reader notices."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from transforms.errors import CommitError, StoreError
from transforms.files.filesystem import join, open_filesystem
from transforms.store import commit, delta
from transforms.store.check import add_action
from transforms.store.delta import DataFile
from transforms.store.files import delete_files
from transforms.store.schema import conform
from transforms.store.table import FeatureTable
from transforms.store.write import ROW_GROUP_ROWS, PartWriter

TARGET_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compaction:
    """What a compaction did, or would do.

    Attributes:
      table: its path.
      version: that has the large files; the newest one when there was nothing to do.
      files_before: data files.
      files_after: data files.
      rows_rewritten: rows that were copied.
    """

    table: str
    version: int
    files_before: int
    files_after: int
    rows_rewritten: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return dataclasses.asdict(self)


def plan_bins(files: Sequence[DataFile], target_bytes: int) -> list[list[DataFile]]:
    """Puts small files together, largest first, so that a bin is at most ``target_bytes``; one alone stays.

    A file of more than half the target is large enough.
    """
    small = sorted((file for file in files if file.size <= target_bytes // 2), key=lambda file: (-file.size, file.path))
    bins: list[list[DataFile]] = []
    open_bin: list[DataFile] = []
    size = 0
    for file in small:
        if open_bin and size + file.size > target_bytes:
            bins.append(open_bin)
            open_bin, size = [], 0
        open_bin.append(file)
        size += file.size
    return [each for each in (*bins, open_bin) if len(each) > 1]


def plan_compaction(table: FeatureTable, target_bytes: int = TARGET_BYTES) -> Compaction:
    """Returns what compact would do."""
    files, bins = table.data_files(), plan_bins(table.data_files(), target_bytes)
    return _compaction(table, len(files), bins, table.version)


def compact(table: FeatureTable, run_id: str, target_bytes: int = TARGET_BYTES) -> Compaction:
    """Writes the bins' files and exchanges them in one commit, whatever is committed meanwhile.

    A bin of which another commit has taken a file out in the meantime is left as it is.

    Raises:
      CommitError: nothing was exchanged; the call may be repeated.
    """
    bins = plan_bins(table.data_files(), target_bytes)
    if not bins:
        return plan_compaction(table, target_bytes)
    written: list[tuple[list[DataFile], AddAction]] = []
    kept: set[str] = set()
    try:
        for sources in bins:
            written.append((sources, _merge(table, sources)))

        def choose(log: DeltaTable) -> list[AddAction | RemoveAction]:
            live = {file.path for file in delta.data_files(log, table.path)}
            now = int(time.time() * 1000)
            actions: list[AddAction | RemoveAction] = []
            kept.clear()
            for sources, action in written:
                if live.issuperset(file.path for file in sources):
                    kept.add(action.path)
                    actions += [RemoveAction(file.path, False, now, file.size, {}) for file in sources]
                    actions.append(action)
            return actions

        words = {"operation": "compact"}
        version = commit.exchange(table.path, run_id, choose, table.schema, words)
    except BaseException:
        kept.clear()
        raise
    finally:
        # after a failed commit the files may yet turn out to be live: only a log that can be read decides
        _discard(table.path, [action.path for _, action in written if action.path not in kept])
    done = [sources for sources, action in written if action.path in kept]
    return _compaction(table, len(table.data_files()), done, version)


def _compaction(table: FeatureTable, files: int, bins: Sequence[Sequence[DataFile]], version: int) -> Compaction:
    return Compaction(
        table=table.path,
        version=version,
        files_before=files,
        files_after=files - sum(len(sources) - 1 for sources in bins),
        rows_rewritten=sum(file.rows for sources in bins for file in sources),
    )


def _merge(table: FeatureTable, sources: Sequence[DataFile]) -> AddAction:
    """Copies the rows of some files into a new one, holding a row group at a time."""
    system, base = open_filesystem(table.path)
    name = f"data/part-{uuid.uuid4().hex}.parquet"
    plain = table.schema.remove_metadata()
    try:
        with PartWriter(table.path, name, table.schema, table.file_metadata) as writer:
            for file in sources:
                with system.open_input_file(join(base, file.path)) as source:
                    opened = pq.ParquetFile(source)
                    for batch in opened.iter_batches(ROW_GROUP_ROWS, columns=plain.names, use_threads=False):
                        for piece in conform(pa.Table.from_batches([batch]), plain).to_batches():
                            writer.write_batch(piece)
        with system.open_input_file(join(base, name)) as source:
            return add_action(writer.part, pq.ParquetFile(source).metadata, data_change=False)
    except (OSError, pa.ArrowException) as error:
        raise CommitError(f"{table.path} cannot be compacted ({delta.one_line(error)}); run again") from error


def _discard(path: str, names: list[str]) -> None:
    if not names:
        return
    with contextlib.suppress(StoreError):  # orphans, which vacuum finds; the first error is the one to report
        live = {file.path for file in FeatureTable.open(path).data_files()}
        delete_files(path, [name for name in names if name not in live])

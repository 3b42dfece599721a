"""Checks parts by their footers before a commit: Delta itself checks neither existence nor schema."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import AddAction
from pyarrow import fs

from transforms.errors import CommitError, PartError
from transforms.files.filesystem import join, open_filesystem
from transforms.files.threads import map_in_threads
from transforms.store.delta import one_line
from transforms.store.schema import DIMENSION_KEY, FINGERPRINT_KEY, STATISTICS_COLUMNS, schema_difference
from transforms.store.write import Part

_PATH = re.compile(r"data/(?:[\w-][\w.=-]*/)*[\w-][\w.=-]*\.parquet", re.ASCII)


def check_parts(root: str, parts: Sequence[Part], schema: pa.Schema, fingerprint: str) -> list[AddAction]:
    """Opens the footer of every part and returns what the log has to say of it; empty parts are left out.

    Args:
      root: path or address of the table.
      schema: of the table's rows, with its dimension.
      fingerprint: of the table's encoder.

    Raises:
      PartError: for parts that are missing, cut short, named twice, or of another size, row count,
        schema, dimension or encoder.
    """
    names = [part.path for part in parts]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise CommitError(f"part {min(twice)} is named twice in one commit")
    files, base = open_filesystem(root)

    def check(part: Part) -> AddAction | CommitError:
        try:
            return _check_part(files, base, part, schema, fingerprint)
        except CommitError as error:
            return error

    actions: list[AddAction] = []
    wrong: list[tuple[str, CommitError]] = []
    for part, found in zip(parts, map_in_threads(check, parts), strict=True):
        if isinstance(found, CommitError):
            wrong.append((part.path, found))
        elif part.rows:
            actions.append(found)
    if wrong:
        raise PartError(str(wrong[0][1]), tuple(path for path, _ in wrong)) from wrong[0][1]
    return actions


def add_action(part: Part, footer: pq.FileMetaData, data_change: bool = True) -> AddAction:
    """Returns the log entry of a part, with the statistics of its footer; no ``data_change`` when rows only move."""
    return AddAction(
        path=part.path,
        size=part.size,
        partition_values={},
        modification_time=int(time.time() * 1000),
        data_change=data_change,
        stats=json.dumps(footer_statistics(footer)),
    )


def footer_statistics(footer: pq.FileMetaData) -> dict[str, Any]:
    """Merges the row groups' statistics of STATISTICS_COLUMNS into Delta's form; no data is read."""
    merged: dict[str, Any] = {
        "numRecords": footer.num_rows,
        "minValues": {},
        "maxValues": {},
        "nullCount": {},
    }
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    places = {footer.schema.column(index).path: index for index in range(footer.num_columns)}
    for name in STATISTICS_COLUMNS:
        found = [group.column(places[name]).statistics for group in groups] if name in places else []
        if not found or any(statistics is None or not statistics.has_null_count for statistics in found):
            continue
        merged["nullCount"][name] = sum(statistics.null_count for statistics in found)
        valued = [statistics for statistics in found if statistics.num_values]
        if valued and all(statistics.has_min_max for statistics in valued):
            merged["minValues"][name] = min(statistics.min for statistics in valued)
            merged["maxValues"][name] = max(statistics.max for statistics in valued)
    return merged


def _check_part(files: fs.FileSystem, base: str, part: Part, schema: pa.Schema, fingerprint: str) -> AddAction:
    footer, arrow = _read_footer(files, base, part)
    difference = schema_difference(arrow, schema)
    if difference:
        raise CommitError(f"part {part.path} has another schema than the table: {difference}")
    if footer.num_rows != part.rows:
        raise CommitError(f"part {part.path} has {footer.num_rows} rows, {part.rows} were written; run again")
    found = (footer.metadata or {}).get(FINGERPRINT_KEY.encode(), b"").decode("utf-8", "replace")
    if found != fingerprint:
        raise CommitError(f"part {part.path} is of encoder {found or 'unknown'}, the table of {fingerprint}")
    values = _vector_values(footer)
    dimension = int((schema.metadata or {})[DIMENSION_KEY.encode()])
    if values != part.rows * dimension:
        raise CommitError(
            f"part {part.path} holds {values} vector values, {part.rows} rows × {dimension} were expected"
        )
    return add_action(part, footer)


def _read_footer(files: fs.FileSystem, base: str, part: Part) -> tuple[pq.FileMetaData, pa.Schema]:
    if not _PATH.fullmatch(part.path):
        raise CommitError(f"part {part.path!r} must be named data/….parquet, plain letters and no ..")
    path = join(base, part.path)
    try:
        size = files.get_file_info(path).size
        if size is None:
            raise CommitError(f"part {part.path} does not exist; run again")
        if size != part.size:
            raise CommitError(f"part {part.path} has {size} bytes, {part.size} were written; run again")
        with files.open_input_file(path) as source:
            file = pq.ParquetFile(source)
            return file.metadata, file.schema_arrow
    except (OSError, pa.ArrowException) as error:
        reason = one_line(error)
        raise CommitError(f"part {part.path} cannot be read ({reason}); run again") from error


def _vector_values(footer: pq.FileMetaData) -> int:
    """Counts the values of ``embedding`` from the footer; a null or empty vector counts one."""
    total = 0
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        for column in range(group.num_columns):
            if group.column(column).path_in_schema.split(".")[0] == "embedding":
                total += group.column(column).num_values
    return total

"""Rows of CSV, TSV, JSONL and Parquet files, read as streams."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import InputError
from transforms.files.filesystem import open_filesystem

MAX_LINE_BYTES = 1 << 20
BATCH_ROWS = 4096
DELIMITERS = ",\t;"
BLANK = b"\xef\xbb\xbf \t\r\n"
"""What may stand before the first character that counts: a byte order mark and white space."""

Row = Mapping[str, Any] | str
"""The columns of a row, or what is wrong with it."""


def read_rows(uri: str, required: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Yields the number (from 1) and the columns of each row of a file; its form is told by its first bytes.

    Args:
      uri: the file.
      required: columns that must be there: in the header, the schema or the first object.

    Raises:
      InputError: the file is empty, lacks a column or has one twice.
    """
    head = read_head(uri, 8)
    if not head.strip(BLANK):
        raise InputError(f"{uri} is empty; a manifest has a header with the column {required[0]!r} and a row an image")
    if head.startswith(b"PAR1"):
        return parquet_rows(uri, required)
    if head.lstrip(BLANK).startswith(b"{"):
        return json_rows(uri, required)
    return csv_rows(uri, required)


def read_head(uri: str, size: int) -> bytes:
    """Returns the first bytes of a file."""
    filesystem, path = open_filesystem(uri)
    with filesystem.open_input_stream(path, compression=None) as stream:
        data: bytes = stream.read(size)
        return data


def csv_rows(uri: str, required: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Yields the rows below a header."""
    records = csv_records(uri)
    header = next(records, "")
    names = [name.strip() for name in header] if not isinstance(header, str) else []
    check_columns(uri, names, required)
    for number, fields in enumerate(records, start=1):
        yield number, fields if isinstance(fields, str) else _csv_row(names, fields)


def csv_records(uri: str) -> Iterator[list[str] | str]:
    """Yields the fields of each line that is not blank, or what is wrong with it."""
    filesystem, path = open_filesystem(uri)
    with filesystem.open_input_stream(path) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        first = text.readline(MAX_LINE_BYTES)
        lines = iter(lambda: text.readline(MAX_LINE_BYTES), "")
        reader = csv.reader(chain([first], lines), delimiter=delimiter_of(first))
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield f"not CSV: {error}"
                continue
            if fields:
                yield fields


def delimiter_of(line: str) -> str:
    """Returns the delimiter that a line has most of."""
    return max(DELIMITERS, key=lambda mark: (line.count(mark), -DELIMITERS.index(mark)))


def _csv_row(names: list[str], fields: list[str]) -> Row:
    if len(fields) > len(names):
        return f"{len(fields)} fields under a header of {len(names)} columns"
    return dict(zip(names, fields, strict=False))


def json_rows(uri: str, required: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Yields the objects of a file with one a line."""
    filesystem, path = open_filesystem(uri)
    with filesystem.open_input_stream(path) as raw:
        lines = io.BufferedReader(raw)
        number, checked = 0, False
        while line := lines.readline(MAX_LINE_BYTES):
            if not line.strip():
                continue
            number += 1
            row = json_row(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            if not checked and isinstance(row, dict):
                check_columns(uri, list(row), required)
                checked = True
            yield number, row


def json_row(line: bytes) -> Row:
    """Returns the object that a line holds, or what is wrong with it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return row if isinstance(row, dict) else f"not a JSON object: {line[:40]!r}"


def parquet_rows(uri: str, required: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Yields the rows of a Parquet file."""
    filesystem, path = open_filesystem(uri)
    try:
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            check_columns(uri, file.schema_arrow.names, required)
            rows = (row for batch in file.iter_batches(batch_size=BATCH_ROWS) for row in batch.to_pylist())
            yield from enumerate(rows, start=1)
    except pa.ArrowInvalid as error:
        raise InputError(f"{uri} begins like Parquet and cannot be read: {error}") from error


def check_columns(uri: str, names: Sequence[str], required: Sequence[str]) -> None:
    """Raises InputError when a column is missing or there twice."""
    for name in required:
        if name not in names:
            raise InputError(f"{uri} has no column {name!r}; its columns are: {', '.join(names)[:200]}")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"{uri} has the column {doubled[0]!r} twice; rename one")

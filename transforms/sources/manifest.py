"""The project's own manifest: CSV, TSV, JSONL or Parquet, a row an image, read as a stream."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import ErrorClass, InputError
from transforms.files.filesystem import SCHEMES, is_local, join, local_path, open_filesystem, scheme_of
from transforms.sources.folder import SPLIT_NAMES, local_fingerprint
from transforms.sources.reference import ImageReference

URI_COLUMN = "uri"
RESERVED_COLUMNS = (URI_COLUMN, "label", "labels", "split", "group")
"""Every further column is an attribute."""
LABEL_SEPARATOR = "|"
"""Between the labels of one image in the ``labels`` column of a CSV or TSV file."""
MAX_LINE_BYTES = 1 << 20
BATCH_ROWS = 4096

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def list_manifest(uri: str, root: str) -> Iterator[ImageReference]:
    """Lists what a manifest names; a row that cannot be understood is listed with its problem.

    Args:
      uri: the manifest; its form is told by its first bytes.
      root: folder that relative addresses are relative to.

    Raises:
      InputError: the manifest is empty or has no column ``uri``.
    """
    filesystem, path = open_filesystem(uri)
    with filesystem.open_input_stream(path) as stream:
        head = stream.read(8)
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise InputError(f"{uri} is empty; a manifest has a header with the column {URI_COLUMN!r} and a row an image")
    if head.startswith(b"PAR1"):
        rows = _parquet_rows(uri)
    elif head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        rows = _jsonl_rows(uri)
    else:
        rows = _csv_rows(uri)
    for number, row in rows:
        yield _reference(row, f"{uri}#row={number}", root)


Row = Mapping[str, Any] | str
"""The columns of a row, or what is wrong with it."""


def _csv_rows(uri: str) -> Iterator[tuple[int, Row]]:
    filesystem, path = open_filesystem(uri)
    with filesystem.open_input_stream(path) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        first = text.readline(MAX_LINE_BYTES)
        delimiter = max(",\t;", key=lambda mark: (first.count(mark), -",\t;".index(mark)))
        names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        _check_columns(uri, names)
        reader = csv.reader(text, delimiter=delimiter)
        number = 0
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                fields = []
                number += 1
                yield number, f"not CSV: {error}"
            if fields:
                number += 1
                yield number, _csv_row(names, fields)


def _csv_row(names: list[str], fields: list[str]) -> Row:
    if len(fields) > len(names):
        return f"{len(fields)} fields under a header of {len(names)} columns"
    row: dict[str, Any] = dict(zip(names, fields, strict=False))
    if row.get("labels"):
        row["labels"] = row["labels"].split(LABEL_SEPARATOR)
    return row


def _jsonl_rows(uri: str) -> Iterator[tuple[int, Row]]:
    filesystem, path = open_filesystem(uri)
    with filesystem.open_input_stream(path) as raw:
        lines = io.BufferedReader(raw)
        number, checked = 0, False
        while line := lines.readline(MAX_LINE_BYTES):
            if not line.strip():
                continue
            number += 1
            row = _json_row(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            if not checked and isinstance(row, dict):
                _check_columns(uri, list(row))
                checked = True
            yield number, row


def _json_row(line: bytes) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return row if isinstance(row, dict) else f"not a JSON object: {line[:40]!r}"


def _parquet_rows(uri: str) -> Iterator[tuple[int, Row]]:
    filesystem, path = open_filesystem(uri)
    try:
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            _check_columns(uri, file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pa.ArrowInvalid as error:
        raise InputError(f"{uri} begins like Parquet and cannot be read: {error}") from error


def _check_columns(uri: str, names: Iterable[str]) -> None:
    found = list(names)
    if URI_COLUMN not in found:
        shown = ", ".join(found)[:200]
        raise InputError(f"{uri} has no column {URI_COLUMN!r}; its columns are: {shown}")
    doubled = sorted({name for name in found if found.count(name) > 1})
    if doubled:
        raise InputError(f"{uri} has the column {doubled[0]!r} twice; rename one")


def _reference(row: Row, place: str, root: str) -> ImageReference:
    """Turns a row into a reference; ``place`` names the row where it has no address."""
    if isinstance(row, str):
        return ImageReference(uri=place).with_problem(ErrorClass.BAD_ROW, row)
    address = row.get(URI_COLUMN)
    if not isinstance(address, str) or not address.strip():
        return ImageReference(uri=place).with_problem(ErrorClass.BAD_ROW, f"no {URI_COLUMN} in this row")
    try:
        address.encode()
        fields = _fields(row)
    except UnicodeEncodeError:
        return ImageReference(uri=place).with_problem(ErrorClass.BAD_ROW, "the row is not UTF-8")
    except ValueError as error:
        return ImageReference(uri=place).with_problem(ErrorClass.BAD_ROW, str(error))
    uri, problem = _address(address.strip(), root)
    reference = ImageReference(uri=uri, fingerprint="" if problem else _fingerprint(uri), **fields)
    return reference.with_problem(ErrorClass.FORBIDDEN_URI, problem) if problem else reference


def _address(address: str, root: str) -> tuple[str, str]:
    """Returns the absolute address and, when it may not be followed, why."""
    if _CONTROL.search(address):
        return address.encode("unicode_escape").decode(), "control characters in the address"
    scheme = scheme_of(address)
    if scheme and scheme not in SCHEMES:
        return address, f"scheme {scheme}:// is not read; use a local path, {', '.join(SCHEMES)}"
    if ".." in address.split("/"):
        return address, "'..' in the address; name the file directly"
    if scheme and scheme != "file":
        return address, ""
    if scheme == "file" or address.startswith("/"):
        return local_path(address), ""
    joined = join(root, address)
    return (local_path(joined) if is_local(joined) else joined), ""


def _fingerprint(uri: str) -> str:
    return local_fingerprint(uri) if is_local(uri) else ""


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    split = _text(row.get("split")).strip()
    if split and split.lower() not in SPLIT_NAMES:
        raise ValueError(f"split must be train, validation or test, got {split!r}")
    labels = row.get("labels")
    if labels is None or labels == "":
        labels = row.get("label")
    values = labels if isinstance(labels, list) else [labels]
    texts = ((name, _text(value)) for name, value in row.items() if name not in RESERVED_COLUMNS)
    attributes = tuple(sorted((name, value) for name, value in texts if name and value))
    label_texts = tuple(text for text in map(_label, values) if text)
    group = _text(row.get("group"))
    "".join((*label_texts, group, *(name + value for name, value in attributes))).encode()  # or it is no UTF-8
    return {
        "labels": label_texts,
        "split": SPLIT_NAMES[split.lower()] if split else "",
        "group": group,
        "attributes": attributes,
    }


def _label(value: Any) -> str:
    return _text(value).strip()


def _text(value: Any) -> str:
    """Numbers keep the form that they have in the file: 1.0 from a float column of whole numbers is 1."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=str)
    return str(value)

"""What form a file has, by its first bytes; its name counts only when they say nothing."""

from __future__ import annotations

import csv
import os
import re
import zlib

import pyarrow as pa

from transforms.errors import ImageError
from transforms.sources.columns import Columns
from transforms.sources.container import GZIP_MAGIC
from transforms.sources.folder import IMAGE_SUFFIXES
from transforms.sources.hf_parquet import image_column, open_parquet
from transforms.sources.labelled_csv import is_ml_use
from transforms.sources.manifest import FILE_NAME_COLUMN, URI_COLUMN
from transforms.sources.rows import BLANK, delimiter_of, json_row, read_head
from transforms.sources.tar import BLOCK, is_tar_header
from transforms.sources.tfrecord import is_record_head
from transforms.sources.vertex_jsonl import BATCH_URI, IMPORT_URI
from transforms.sources.zip_format import END_MAGIC, LOCAL_MAGIC

HEAD_BYTES = 1 << 16
MANIFEST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt")
CONTAINER_SUFFIXES = {
    ".tar": "webdataset",
    ".tar.gz": "webdataset",
    ".tgz": "webdataset",
    ".zip": "zip",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".tfrecord.gz": "tfrecord",
    ".tfrecords.gz": "tfrecord",
    ".parquet": "hf-parquet",
}
"""Endings that make a file of a folder or glob worth a look."""

_SHARD_OF = re.compile(r"-\d+-of-\d+")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|.*/")
_IMAGE_MAGIC = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF8",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
    b"RIFF",
    b"\x00\x00\x00\x1cftyp",
    b"\x00\x00\x00\x20ftyp",
    b"\x00\x00\x00\x18ftyp",
)


def recognise_file(uri: str, columns: Columns) -> str | None:
    """Returns the dialect of a file, a key of DIALECTS; None when neither content nor name tells it."""
    head = read_head(uri, HEAD_BYTES)
    return _binary_form(uri, head, columns) or _form_by_name(uri) or _text_form(uri, head, columns)


def container_form(uri: str) -> str | None:
    """Returns the container that a file's name speaks of, for choosing files of a folder."""
    name = os.path.basename(uri).lower()
    if _SHARD_OF.search(name) and "tfrecord" in name:
        return "tfrecord"
    return next((form for suffix, form in CONTAINER_SUFFIXES.items() if name.endswith(suffix)), None)


def split_of_name(uri: str) -> str:
    """Returns the word of a numbered shard's name that stands for its split: ``train-00000-of-00002.parquet``."""
    match = re.match(r"([A-Za-z]+)[-_.]\d", os.path.basename(uri))
    return match.group(1) if match and is_ml_use(match.group(1)) else ""


def _binary_form(uri: str, head: bytes, columns: Columns) -> str | None:
    if head.startswith(b"PAR1"):
        return _parquet_form(uri, columns)
    if head.startswith((LOCAL_MAGIC, END_MAGIC)):
        return "zip"
    if head.startswith(GZIP_MAGIC):
        head = _inflate(head)
    if is_tar_header(head[:BLOCK]):
        return "webdataset"
    if is_record_head(head[:12]):
        return "tfrecord"
    return "image" if head.startswith(_IMAGE_MAGIC) and _is_binary(head) else None


def _form_by_name(uri: str) -> str | None:
    if os.path.splitext(uri)[1].lower() in IMAGE_SUFFIXES:
        return "image"
    form = container_form(uri)
    return form if form != "hf-parquet" else None


def _text_form(uri: str, head: bytes, columns: Columns) -> str | None:
    lines = [line for line in head.lstrip(BLANK).splitlines() if line.strip()][:100]
    if not uri.lower().endswith(MANIFEST_SUFFIXES) and (not lines or _is_binary(head)):
        return None
    if not lines:
        return "manifest"
    first = lines[0]
    if first.startswith(b"{"):
        row = json_row(first)
        return _named_form(list(row) if isinstance(row, dict) else [], columns) or _suffix_manifest(uri)
    texts = [line.decode("utf-8", "replace") for line in lines]
    delimiter = delimiter_of(texts[0])
    rows = [[field.strip() for field in fields] for fields in csv.reader(texts, delimiter=delimiter)]
    return _named_form(rows[0], columns) or _headless_form(rows) or _suffix_manifest(uri)


def _named_form(names: list[str], columns: Columns) -> str | None:
    if columns.uri in names or URI_COLUMN in names:
        return "manifest"
    forms = {FILE_NAME_COLUMN: "imagefolder", IMPORT_URI: "vertex-jsonl", BATCH_URI: "vertex-batch"}
    return next((form for name, form in forms.items() if name in names), None)


def _headless_form(rows: list[list[str]]) -> str | None:
    """Tells the two CSV forms without header: an address comes first, or second behind a split."""
    for fields in rows:
        if len(fields) > 1 and (is_ml_use(fields[0]) or not fields[0]) and _is_address(fields[1]):
            return "vertex-csv"
    return "flowers-csv" if rows and rows[0] and _is_address(rows[0][0]) else None


def _is_address(text: str) -> bool:
    return bool(_ADDRESS.match(text)) or os.path.splitext(text)[1].lower() in IMAGE_SUFFIXES


def _suffix_manifest(uri: str) -> str | None:
    return "manifest" if uri.lower().endswith(MANIFEST_SUFFIXES) else None


def _parquet_form(uri: str, columns: Columns) -> str:
    try:
        with open_parquet(uri) as file:
            schema: pa.Schema = file.schema_arrow
    except ImageError:
        return "manifest"
    named = _named_form(schema.names, columns) if columns.image is None else None
    if named == "manifest":
        return named
    return "hf-parquet" if image_column(schema, columns.image) else named or "manifest"


def _inflate(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _is_binary(head: bytes) -> bool:
    return b"\x00" in head

"""Files of predictions: which there are, and their rows as Arrow batches."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from transforms.errors import InputError
from transforms.files.filesystem import join, open_filesystem, read_bytes
from transforms.measures.columns import ColumnMapping, is_single, map_columns
from transforms.measures.rows import COLUMNS, NEEDED

BATCH_ROWS = 16_384
"""Rows of one batch; it bounds what a worker holds."""

OURS = ColumnMapping()
"""No column has another name."""

_NESTED = (list, dict)
_LISTS = ("ids", "displayNames", "labels", "predicted")
_NUMBERS = ("weight", "width", "height", "brightness", "cluster_distance")
_CSV_ALIASES = {"prediction": "displayNames", "confidence": "confidences", "label": "labels"}
_NEUTRALISED = tuple(f"'{sign}" for sign in "=+-@\t\r")
_TEXT_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image_uri", pa.string()),
        *((name, pa.list_(pa.string())) for name in _LISTS),
        ("confidences", pa.list_(pa.float64())),
        ("attributes", pa.map_(pa.string(), pa.string())),
        ("model_version", pa.string()),
        ("split", pa.string()),
        *((name, pa.float64()) for name in _NUMBERS),
        ("format", pa.string()),
        ("activation", pa.string()),
        ("cluster", pa.string()),
    ]
)


class PredictionPart(NamedTuple):
    """What one worker reads at a time: a row group of a Parquet file, or (-1) a whole JSONL or CSV file."""

    address: str
    row_group: int


def list_prediction_files(address: str) -> list[str]:
    """Returns the addresses of the files that hold predictions, sorted.

    A directory holds what its run.json names under ``files``, or else its ``predictions_*.parquet``,
    of which there being none, its ``predictions_*.jsonl``.

    Raises:
      InputError: nothing is there, or nothing that holds predictions.
    """
    filesystem, path = open_filesystem(address)
    kind = _file_info(filesystem, path, address).type
    if kind == fs.FileType.NotFound:
        raise InputError(f"{address} does not exist; name the output of heliograph score, or a file")
    if kind == fs.FileType.File:
        if _suffix(path) not in _READERS:
            raise InputError(f"{address} is none of {', '.join(sorted(_READERS))}")
        return [address]
    names = _recorded(filesystem, path, address)
    if names is None:
        entries = filesystem.get_file_info(fs.FileSelector(path))
        names = [entry.base_name for entry in entries if entry.type == fs.FileType.File]
    found = [name for name in names if _is_prediction(name, ".parquet")]
    names = found or [name for name in names if _is_prediction(name, ".jsonl")]
    if not names:
        raise InputError(
            f"{address} holds no predictions_*.parquet or .jsonl; make them with heliograph score --output {address}, "
            "whose --format csv is for people and cannot be measured"
        )
    return [join(address, name) for name in sorted(names)]


def list_error_files(address: str) -> list[str]:
    """Returns the addresses of the dead letters that lie beside the predictions, sorted."""
    filesystem, path = open_filesystem(address)
    if _file_info(filesystem, path, address).type != fs.FileType.Directory:
        return []
    entries = filesystem.get_file_info(fs.FileSelector(path))
    recorded = _recorded(filesystem, path, address)
    names = [entry.base_name for entry in entries] if recorded is None else recorded
    there = {entry.base_name for entry in entries}
    return [
        join(address, name)
        for name in sorted(names)
        if name.startswith("errors_") and name.endswith(".parquet") and name in there
    ]


def count_errors(address: str) -> dict[str, int]:
    """Returns how many dead letters of each class lie beside the predictions, most frequent first."""
    numbers: dict[str, int] = {}
    for file in list_error_files(address):
        with _open_parquet(file) as parquet:
            if "error_class" not in parquet.schema_arrow.names:
                continue
            for batch in parquet.iter_batches(BATCH_ROWS, columns=["error_class"]):
                for entry in batch.column(0).value_counts().to_pylist():
                    name = str(entry["values"])
                    numbers[name] = numbers.get(name, 0) + entry["counts"]
    return dict(sorted(numbers.items(), key=lambda item: (-item[1], item[0])))


def error_examples(address: str, limit: int) -> list[dict[str, str]]:
    """Returns the first ``limit`` dead letters of each class: image_uri, error_class and error_message, by class."""
    names = ("error_class", "image_uri", "error_message")
    found: dict[str, list[dict[str, str]]] = {}
    for file in list_error_files(address):
        with _open_parquet(file) as parquet:
            if not set(names).issubset(parquet.schema_arrow.names):
                continue
            for batch in parquet.iter_batches(BATCH_ROWS, columns=list(names)):
                for value in pc.unique(batch.column(0)):
                    kept = found.setdefault(str(value), [])
                    rows = batch.filter(pc.equal(batch.column(0), value)).slice(0, limit - len(kept))
                    kept += ({name: str(row[name] or "") for name in names} for row in rows.to_pylist())
    return [row for name in sorted(found) for row in found[name]]


def list_parts(address: str, mapping: ColumnMapping = OURS) -> list[PredictionPart]:
    """Returns the parts of one file."""
    if _suffix(address) != ".parquet":
        return [PredictionPart(address, -1)]
    with _open_parquet(address) as parquet:
        if not mapping.foreign:
            _check_columns(address, parquet.schema_arrow.names)
        return [PredictionPart(address, group) for group in range(parquet.num_row_groups)]


def read_part(
    part: PredictionPart, columns: tuple[str, ...] = COLUMNS, mapping: ColumnMapping = OURS
) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a part in our columns; of Parquet, only ``columns`` and those of ``mapping`` are read.

    Raises:
      InputError: the file cannot be read, or is no prediction file.
    """
    for batch in _READERS[_suffix(part.address)](part, columns, mapping):
        yield map_columns(batch, mapping)


def _read_parquet(part: PredictionPart, columns: tuple[str, ...], mapping: ColumnMapping) -> Iterator[pa.RecordBatch]:
    with _open_parquet(part.address) as parquet:
        wanted = {*columns, *(["label"] if "labels" in columns else [])}
        if mapping.any:
            wanted |= {mapping.label, mapping.weight, mapping.id, "attributes"}
        present = [name for name in parquet.schema_arrow.names if name in wanted]
        if mapping.foreign:
            present = [field.name for field in parquet.schema_arrow if is_single(field.type)]
        try:
            yield from parquet.iter_batches(BATCH_ROWS, row_groups=[part.row_group], columns=present)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{part.address} cannot be read: {_one_line(error)}") from error


def _read_jsonl(part: PredictionPart, columns: tuple[str, ...], mapping: ColumnMapping) -> Iterator[pa.RecordBatch]:
    with _open_text(part.address) as stream:
        records = map(_parse_json_line, (line for line in stream if line.strip()))
        yield from _batches(records, columns, mapping)


def _read_csv(part: PredictionPart, columns: tuple[str, ...], mapping: ColumnMapping) -> Iterator[pa.RecordBatch]:
    with _open_text(part.address) as stream:
        reader = csv.DictReader(stream)
        if mapping.foreign:
            rows = ({name: cell for name, cell in row.items() if name} for row in reader)
        else:
            named = [_CSV_ALIASES.get(name, name) for name in reader.fieldnames or []]
            _check_columns(part.address, named)
            reader.fieldnames = named
            rows = ({name: _parse_cell(name, cell) for name, cell in row.items() if name} for row in reader)
        try:
            yield from _batches(rows, columns, mapping)
        except csv.Error as error:
            raise InputError(f"{part.address} is no CSV: {error}") from error


_READERS = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".csv": _read_csv}


def _batches(
    rows: Iterator[dict[str, Any]], columns: tuple[str, ...], mapping: ColumnMapping
) -> Iterator[pa.RecordBatch]:
    while pending := list(itertools.islice(rows, BATCH_ROWS)):
        if mapping.foreign:
            yield _text_batch(pending, mapping)
        else:
            batch = pa.RecordBatch.from_pylist([_flat_row(row) for row in pending], schema=_TEXT_SCHEMA)
            named = [name for name in (mapping.label, mapping.weight, mapping.id) if name and name not in columns]
            batch = batch.select(list(dict.fromkeys((*columns, *(["attributes"] if mapping.any else [])))))
            for name in named:
                values = [row.get(name) for row in pending]
                if any(value is not None for value in values):
                    texts = [None if value is None else _text(value) for value in values]
                    batch = batch.append_column(name, pa.array(texts, pa.string()))
            yield batch


def _text_batch(rows: list[dict[str, Any]], mapping: ColumnMapping) -> pa.RecordBatch:
    """Every single value as text, a column a name; a JSON null is no value."""
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, _NESTED)))
    if all(name in names for name in mapping.columns):  # else the first look says which columns there are
        names = list(dict.fromkeys((*names, mapping.label)))
    columns = [[row.get(name) for row in rows] for name in names]
    texts = [
        [None if value is None or isinstance(value, _NESTED) else _text(value) for value in column]
        for column in columns
    ]
    return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in texts], names=names)


def _parse_json_line(line: str) -> dict[str, Any]:
    """A line in our own or in Vertex' shape; one that is neither becomes an empty row, which is a bad one."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    instance, prediction = record.get("instance"), record.get("prediction")
    flat = dict(record)
    if isinstance(instance, dict):
        flat = {"image_uri": instance.get("content"), **instance, **flat}
    if isinstance(prediction, dict):
        flat |= prediction
    return flat


def _flat_row(record: dict[str, Any]) -> dict[str, Any]:
    """The known columns of a record, in their types; what has another type is left out."""
    row: dict[str, Any] = {}
    for name in ("image_id", "image_uri", "model_version", "split", "format", "activation", "cluster"):
        value = record.get(name)
        row[name] = None if value is None else _text(value)
    for name in _NUMBERS:
        row[name] = None if record.get(name) is None else _number(record[name])
    single = [] if record.get("label") in (None, "") else [record["label"]]
    for name in _LISTS:
        value = record.get(name, single if name == "labels" else None)
        row[name] = [_text(entry) for entry in value] if isinstance(value, list) else None
    row["confidences"] = _numbers(record.get("confidences"))
    attributes = record.get("attributes")
    if isinstance(attributes, dict):
        row["attributes"] = [(_text(name), _text(value)) for name, value in attributes.items() if value is not None]
    return row


def _numbers(value: Any) -> list[float] | None:
    """The confidences; a null or a word among them is a NaN, which is counted as such."""
    if not isinstance(value, list):
        return None
    return [_number(entry) for entry in value]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an integer beyond the range of floats
        return math.inf


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()


def _parse_cell(name: str, cell: Any) -> Any:
    """A CSV cell: lists and attributes stand there as JSON, or one value alone, labels joined by ``|``.

    The apostrophe before a formula, which heliograph score puts there, is taken off again.
    """
    if not isinstance(cell, str):
        return None
    text = cell[1:] if cell.startswith(_NEUTRALISED) else cell
    if name in _NUMBERS:
        with contextlib.suppress(ValueError):
            return float(text)
        return math.nan if text else None
    if name not in (*_LISTS, "confidences", "attributes"):
        return text
    if text.startswith(("[", "{")):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)
    if name == "confidences":
        with contextlib.suppress(ValueError):
            return [float(text)]
        return [None] if text else None
    return text.split("|") if name == "labels" else [text]


def _recorded(filesystem: fs.FileSystem, path: str, address: str) -> list[str] | None:
    """What run.json names under ``files``; None when there is no such list."""
    record_path = f"{path}/run.json"
    if _file_info(filesystem, record_path, address).type != fs.FileType.File:
        return None
    try:
        record = json.loads(read_bytes(filesystem, record_path))
    except (ValueError, OSError) as error:
        raise InputError(f"{address}/run.json cannot be read: {_one_line(error)}") from error
    files = record.get("files") if isinstance(record, dict) else None
    if not isinstance(files, list):
        return None
    return [str(entry.get("path", "")) if isinstance(entry, dict) else str(entry) for entry in files]


def _is_prediction(name: str, suffix: str) -> bool:
    return name.startswith("predictions_") and name.endswith(suffix) and "/" not in name


def _check_columns(address: str, names: list[str]) -> None:
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise InputError(
            f"{address} has no column {' and no '.join(missing)}; it has {', '.join(names[:20])}; "
            "name the columns of predictions that others made with --label-column and --score-column"
        )


@contextlib.contextmanager
def _open_parquet(address: str) -> Iterator[pq.ParquetFile]:
    filesystem, path = open_filesystem(address)
    try:
        parquet = pq.ParquetFile(path, filesystem=filesystem)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{address} cannot be read as Parquet: {_one_line(error)}") from error
    with parquet:
        yield parquet


@contextlib.contextmanager
def _open_text(address: str) -> Iterator[io.TextIOWrapper]:
    filesystem, path = open_filesystem(address)
    try:
        stream = filesystem.open_input_stream(path)
    except OSError as error:
        raise InputError(f"{address} cannot be read: {_one_line(error)}") from error
    with io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="") as text:
        yield text


def _file_info(filesystem: fs.FileSystem, path: str, address: str) -> fs.FileInfo:
    try:
        return filesystem.get_file_info(path)
    except OSError as error:
        raise InputError(f"{address} cannot be reached: {_one_line(error)}") from error


def _suffix(path: str) -> str:
    name = path.rsplit("/", 1)[-1].lower()
    return f".{name.rsplit('.', 1)[-1]}" if "." in name else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

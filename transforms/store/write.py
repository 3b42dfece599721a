"""Writes parts: Parquet files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from transforms.errors import CommitError
from transforms.files.filesystem import join, open_filesystem
from transforms.store.delta import one_line
from transforms.store.schema import DIMENSION_KEY, STATISTICS_COLUMNS

ROW_GROUP_ROWS = 1024
"""Rows of a row group: 5 MB of vectors at 1280, the least that a look-up of one vector reads."""

Columns = Mapping[str, Any]
"""A batch: every column of the schema as a sequence, ``embedding`` as ``float32[N, D]``."""


class Part(NamedTuple):
    """A finished Parquet file that no reader sees before it is committed.

    Attributes:
      path: relative to the table or directory it belongs to, ``data/part-….parquet``.
      rows: number of rows.
      size: bytes.
    """

    path: str
    rows: int
    size: int


class PartWriter:
    """Writes one part; on leaving ``with`` it is complete, durable and described by ``part``.

    An exception inside ``with`` leaves no file. Memory is bounded by a row group.

    Raises:
      CommitError: the disk is full, or the directory may not be written.

    Args:
      root: path or address of the table or directory.
      path: of the part, relative to ``root``; unique to the attempt.
      schema: of the rows.
      metadata: key-value metadata of the file; see ``schema.file_metadata``.
      compression: of the vectors, ``none`` or ``zstd`` …; the other columns are always compressed.
    """

    def __init__(
        self,
        root: str,
        path: str,
        schema: pa.Schema,
        metadata: Mapping[str, str],
        compression: str = "none",
    ) -> None:
        self.rows = 0
        self._path = path
        self._schema = schema
        self._filesystem, base = open_filesystem(root)
        self._target = join(base, path)
        parent, name = self._target.rsplit("/", 1)
        with self._writing():
            self._filesystem.create_dir(parent, recursive=True)
        local = isinstance(self._filesystem, fs.LocalFileSystem)
        self._temporary = f"{parent}/.{name}.{uuid.uuid4().hex[:8]}.tmp" if local else self._target
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._part: Part | None = None
        with self._writing():
            self._stream = self._filesystem.open_output_stream(self._temporary)
        try:
            self._writer = _parquet_writer(self._stream, schema.with_metadata(dict(metadata)), compression)
        except BaseException:
            self._discard()
            raise

    @property
    def part(self) -> Part:
        """The finished part; there is none before the end of ``with``."""
        if self._part is None:
            raise ValueError(f"{self._path} is not finished")
        return self._part

    def write(self, columns: Columns) -> None:
        """Appends a batch; arrays are copied, so the caller may use them again.

        Raises:
          ValueError: for a missing or unknown column, columns of unequal length, vectors of another
            dimension or with values that are not finite.
        """
        self.write_batch(columns_to_batch(columns, self._schema))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Appends a record batch of the writer's schema."""
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self.rows += batch.num_rows
        if self._waiting_rows >= ROW_GROUP_ROWS:
            self._flush(whole=False)

    def _flush(self, whole: bool) -> None:
        table = pa.Table.from_batches(self._waiting, schema=self._schema)
        rows = table.num_rows if whole else table.num_rows // ROW_GROUP_ROWS * ROW_GROUP_ROWS
        if rows:
            with self._writing():
                self._writer.write_table(table.slice(0, rows), row_group_size=ROW_GROUP_ROWS)
        self._waiting = table.slice(rows).to_batches()
        self._waiting_rows = table.num_rows - rows

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._publish()
        except BaseException:
            self._discard()
            raise

    def _publish(self) -> None:
        self._flush(whole=True)
        with self._writing():
            self._writer.close()
            self._stream.close()
            if self._temporary != self._target:
                sync(self._temporary)
                os.replace(self._temporary, self._target)
                sync(os.path.dirname(self._target))
        self._part = Part(self._path, self.rows, self._filesystem.get_file_info(self._target).size)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns a full disk or a lost permission into words."""
        try:
            yield
        except OSError as error:
            raise CommitError(
                f"{self._target} cannot be written ({one_line(error)}); make room or give permission and run "
                "again: what is finished is kept"
            ) from error

    def _discard(self) -> None:
        self._waiting = []
        for close in (getattr(getattr(self, "_writer", None), "close", None), self._stream.close):
            with contextlib.suppress(OSError, pa.ArrowException):  # the first error is the one to report
                if close is not None:
                    close()
        with contextlib.suppress(OSError):  # never made, or the disk is gone; a temporary file is no part
            self._filesystem.delete_file(self._temporary)


def sync(path: str) -> None:
    """Forces a local file or directory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def columns_to_batch(columns: Columns, schema: pa.Schema) -> pa.RecordBatch:
    """Turns a batch of columns into Arrow, the vectors without a Python object per value."""
    odd = set(columns).symmetric_difference(schema.names)
    if odd:
        raise ValueError(f"columns {sorted(odd)} are missing or unknown; expected {schema.names}")
    dimension = int((schema.metadata or {}).get(DIMENSION_KEY.encode(), b"0"))
    arrays = [_column(columns[field.name], field, dimension) for field in schema]
    lengths = {field.name: len(array) for field, array in zip(schema, arrays, strict=True)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of one batch must be equally long, got {lengths}")
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def vectors_to_arrow(vectors: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Turns ``float32[N, D]`` into a list array by copying its bytes once."""
    rows, dimension = vectors.shape
    if rows * dimension >= 2**31:
        raise ValueError(f"a batch of {rows} × {dimension} values is too large; write fewer rows at a time")
    values = pa.array(np.array(vectors, dtype=np.float32, order="C").reshape(-1))
    offsets = np.arange(rows + 1, dtype=np.int64) * dimension
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, type=kind)


def _column(values: Any, field: pa.Field, dimension: int) -> pa.Array:
    if isinstance(values, np.ndarray) and values.ndim == 2 and pa.types.is_list(field.type):
        if dimension and values.shape[1] != dimension:
            raise ValueError(f"{field.name} must have {dimension} values a row, got {values.shape[1]}")
        if not np.isfinite(values).all():
            raise ValueError(f"{field.name} has values that are not finite; such an image is a dead letter")
        return vectors_to_arrow(values, field.type)
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        chunk = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        return chunk.cast(field.type)
    if pa.types.is_map(field.type):
        values = [value.items() if isinstance(value, Mapping) else value for value in values]
        values = [None if value is None else list(value) for value in values]
    try:
        return pa.array(values, type=field.type)
    except UnicodeEncodeError:  # a file name that is not UTF-8: one such must not cost the part
        return pa.array([_encodable(value) for value in values], type=field.type)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Iterable):
        return type(value)(_encodable(item) for item in value)  # type: ignore[call-arg]
    return value


def _parquet_writer(stream: Any, schema: pa.Schema, compression: str) -> pq.ParquetWriter:
    vector = "embedding.list.element"
    leaves = [column.path for column in _leaves(schema)]
    return pq.ParquetWriter(
        stream,
        schema,
        compression={leaf: compression if leaf == vector else "snappy" for leaf in leaves},
        use_dictionary=[leaf for leaf in leaves if leaf != vector],
        write_statistics=[leaf for leaf in leaves if leaf in (*STATISTICS_COLUMNS, "created", "event_timestamp")],
    )


def _leaves(schema: pa.Schema) -> list[Any]:
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    parquet = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [parquet.column(index) for index in range(len(parquet))]

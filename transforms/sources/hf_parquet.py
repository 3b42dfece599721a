"""Hugging Face Parquet: a column with the image's bytes, beside a label whose names stand in the schema's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import ErrorClass, ImageError, InputError
from transforms.files.filesystem import open_filesystem
from transforms.sources.columns import Columns
from transforms.sources.container import DEFAULT_CONTAINER_LIMITS, ContainerLimits, MemberList
from transforms.sources.manifest import metadata_of
from transforms.sources.reference import ImageReference, Member

IMAGE_COLUMN = "image"
BATCH_ROWS = 16
"""Images that are read at once."""
_METADATA_KEY = b"huggingface"


def image_column(schema: pa.Schema, name: str | None = None) -> str | None:
    """Returns the column that holds images: the named one, ``image``, or the only one of struct{bytes, path}."""
    if name is not None:
        return name if name in schema.names and _bytes_path(schema, name) else None
    if IMAGE_COLUMN in schema.names and _bytes_path(schema, IMAGE_COLUMN):
        return IMAGE_COLUMN
    structs = [name for name in schema.names if _bytes_path(schema, name).endswith(".bytes")]
    return structs[0] if len(structs) == 1 else None


def list_hf_parquet(
    uri: str, columns: Columns | None = None, limits: ContainerLimits = DEFAULT_CONTAINER_LIMITS
) -> Iterator[ImageReference]:
    """Lists the rows; the column with the bytes is not read.

    Raises:
      InputError: the file is no Parquet file or has no column of images.
    """
    columns = columns or Columns()
    try:
        file = open_parquet(uri)
    except ImageError as error:
        yield MemberList(uri, "hf-parquet").rest(error)
        return
    with file:
        schema = file.schema_arrow
        column = image_column(schema, columns.image)
        if column is None:
            shown = ", ".join(schema.names)[:200]
            raise InputError(f"{uri} has no column of images (struct with bytes, or binary); its columns are: {shown}")
        members = MemberList(uri, "hf-parquet", column=column)
        try:
            yield from _list_rows(file, column, columns, members, limits)
        except (pa.ArrowException, OSError) as error:
            yield members.rest(ImageError(ErrorClass.CORRUPT, " ".join(str(error).split()), type(error).__name__))


def _list_rows(
    file: pq.ParquetFile, column: str, columns: Columns, members: MemberList, limits: ContainerLimits
) -> Iterator[ImageReference]:
    schema = file.schema_arrow
    path = f"{column}.path" if _bytes_path(schema, column).endswith(".bytes") else None
    others = [name for name in schema.names if name != column and not _is_heavy(schema.field(name).type)]
    class_names = _class_names(schema)
    number = 0
    for group in range(file.num_row_groups):
        row_in_group = 0
        for batch in file.iter_batches(row_groups=[group], columns=[*others, *([path] if path else [])]):
            for row in batch.to_pylist() if batch.num_columns else [{}] * batch.num_rows:
                if number >= limits.max_members:
                    raise pa.ArrowInvalid(f"more than {limits.max_members:,} rows")
                yield _reference(row, number, (group, row_in_group), column, columns, class_names, members)
                number, row_in_group = number + 1, row_in_group + 1


def _reference(
    row: dict[str, Any],
    number: int,
    place: tuple[int, int],
    column: str,
    columns: Columns,
    class_names: dict[str, list[str]],
    members: MemberList,
) -> ImageReference:
    path = (row.pop(column, None) or {}).get("path") or row.get(columns.uri or "") or ""
    base = str(path).replace("\\", "/").rpartition("/")[2]
    name = f"{number}/{base}" if base not in ("", "..") else str(number)
    for label, names in class_names.items():
        row[label] = _class_text(row.get(label), names)
    try:
        return members.reference(name, *place, **metadata_of(row, columns, (columns.uri or "",)))
    except ValueError as error:
        return members.reference(name, *place).with_problem(ErrorClass.BAD_ROW, str(error))


class ParquetCursor:
    """Reads the images of one file, forward, some rows at once.

    Args:
      uri: of the file.
      max_bytes: of one image.
    """

    def __init__(self, uri: str, max_bytes: int) -> None:
        self._file = open_parquet(uri)
        self._max_bytes = max_bytes
        self._at: tuple[int, int] = (-1, 0)
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.Array | None = None

    def read(self, member: Member) -> bytes:
        """Returns the bytes of one row.

        Raises:
          ImageError: the row is not there, empty, too large or unreadable.
        """
        try:
            return self._read(member)
        except (pa.ArrowException, OSError, StopIteration) as error:
            self._at, self._batch = (-1, 0), None
            text = " ".join(str(error).split()) or "the row is not there"
            raise ImageError(ErrorClass.CORRUPT, text, type(error).__name__) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _read(self, member: Member) -> bytes:
        group, row = member.offset, member.length
        if self._at[0] != group or row < self._at[1]:
            path = _bytes_path(self._file.schema_arrow, member.column)
            self._batches = self._file.iter_batches(BATCH_ROWS, row_groups=[group], columns=[path])
            self._at, self._batch = (group, 0), None
        while self._batch is None or row >= self._at[1] + len(self._batch):
            first = self._at[1] + (len(self._batch) if self._batch is not None else 0)
            self._batch = _binary(next(self._batches).column(0))
            self._at = (group, first)
        value = self._batch[row - self._at[1]]
        if not value.is_valid:
            raise ImageError(ErrorClass.EMPTY, "the row has no image bytes; images named by path alone are not read")
        size = value.as_buffer().size
        if size > self._max_bytes:
            message = f"the image has {size:,} bytes, more than the {self._max_bytes:,} that are read"
            raise ImageError(ErrorClass.TOO_LARGE_BYTES, message)
        data: bytes = value.as_py()
        return data


def open_parquet(uri: str) -> pq.ParquetFile:
    """Opens a file so that column chunks are streamed.

    Raises:
      ImageError: CORRUPT when it is no whole Parquet file.
    """
    filesystem, path = open_filesystem(uri)
    try:
        return pq.ParquetFile(path, filesystem=filesystem, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        text = " ".join(str(error).split())
        raise ImageError(ErrorClass.CORRUPT, f"cannot be read as Parquet: {text}", type(error).__name__) from error


def _bytes_path(schema: pa.Schema, name: str) -> str:
    """Returns the path of the leaf with the bytes, empty when the column holds no images."""
    kind = schema.field(name).type
    if pa.types.is_struct(kind) and any(kind.field(i).name == "bytes" for i in range(kind.num_fields)):
        return f"{name}.bytes"
    return name if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else ""


def _binary(column: pa.Array) -> pa.Array:
    return column.field("bytes") if pa.types.is_struct(column.type) else column


def _is_heavy(kind: pa.DataType) -> bool:
    """Returns whether a column is bytes or nested, and hence no attribute."""
    simple_list = pa.types.is_list(kind) and not pa.types.is_nested(kind.value_type)
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return binary or (pa.types.is_nested(kind) and not simple_list)


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Returns the names behind the integers of each ClassLabel column."""
    try:
        features = json.loads((schema.metadata or {})[_METADATA_KEY])["info"]["features"]
        items = [(name, feature if isinstance(feature, dict) else {}) for name, feature in features.items()]
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
    found = {}
    for name, feature in items:
        inner = feature.get("feature")
        names = feature.get("names") or (inner.get("names") if isinstance(inner, dict) else None)
        if name in schema.names and isinstance(names, list) and all(isinstance(text, str) for text in names):
            found[name] = names
    return found


def _class_text(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_class_text(one, names) for one in value]
    if isinstance(value, int) and value == -1:
        return None  # how Hugging Face writes that there is no label
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value

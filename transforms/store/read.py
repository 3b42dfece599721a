"""Reads feature tables: into one matrix, or as a stream of batches."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from transforms.errors import StoreError
from transforms.files.filesystem import open_filesystem
from transforms.machine.cores import usable_cores
from transforms.store.delta import DataFile, one_line
from transforms.store.pages import read_lists, read_vectors
from transforms.store.schema import conform, feature_schema, subset
from transforms.store.table import FeatureTable

METADATA_COLUMNS = ("image_id", "image_uri", "sha256", "split", "labels", "group", "view_id", "attributes")
BATCH_ROWS = 1024
ALIGNMENT = 64  # bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features:
    """Rows of a table, column by column, in the same order; a column that was not asked for is empty.

    Attributes:
      embeddings: ``float32[N, dimension]``, contiguous.
      labels: of each image, in the order given.
      view_ids: ``int32[N]``; 0 is the image itself.
    """

    embeddings: np.ndarray
    image_ids: list[str] = dataclasses.field(default_factory=list)
    image_uris: list[str] = dataclasses.field(default_factory=list)
    sha256: list[str] = dataclasses.field(default_factory=list)
    splits: list[str] = dataclasses.field(default_factory=list)
    labels: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    groups: list[str] = dataclasses.field(default_factory=list)
    view_ids: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    attributes: list[dict[str, str]] = dataclasses.field(default_factory=list)

    def take(self, rows: np.ndarray) -> Features:
        """Returns the rows of these numbers, in their order; what was not asked for stays empty."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        places = rows.tolist()
        for name, column in columns.items():
            if len(column):
                columns[name] = column[rows] if isinstance(column, np.ndarray) else [column[place] for place in places]
        return Features(**columns)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """The rows of a table that are wanted; plain data. What is None or empty does not matter.

    Attributes:
      equal: column to the values that are wanted, for ``split`` and ``view_id``.
      labels: a row has at least one of them.
      attributes: name to the values of which the row has one.
    """

    equal: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    attributes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        splits: Collection[str] | None = None,
        labels: Collection[str] | None = None,
        attributes: Mapping[str, str | Collection[str]] | None = None,
        views: Collection[int] | None = None,
    ) -> Selection:
        """Returns the selection; a string stands for itself, not for its letters."""
        wanted = {"split": _several(splits), "view_id": _several(views)}
        return cls(
            equal={name: tuple(sorted(values)) for name, values in wanted.items() if values is not None},
            labels=None if labels is None else tuple(sorted(_several(labels) or ())),
            attributes={name: tuple(sorted(_several(values) or ())) for name, values in (attributes or {}).items()},
        )

    @property
    def columns(self) -> list[str]:
        """What must be read to tell the rows."""
        labels = ["labels"] if self.labels is not None else []
        return [*self.equal, *labels, *(["attributes"] if self.attributes else [])]

    def may_match(self, footer: pq.FileMetaData, group: int) -> bool:
        """Tells from a row group's statistics whether it can hold a wanted row."""
        places = {footer.schema.column(index).path: index for index in range(footer.num_columns)} if self.equal else {}
        for name, wanted in self.equal.items():
            statistics = footer.row_group(group).column(places[name]).statistics
            if statistics is None or not statistics.has_min_max:
                continue
            if not any(statistics.min <= value <= statistics.max for value in wanted):
                return False
        return True

    def mask(self, table: pa.Table) -> np.ndarray | None:
        """Returns ``bool[N]``, true for the rows that are wanted; None for all."""
        masks = []
        for name, wanted in self.equal.items():
            column = table.column(name)
            masks.append(pc.is_in(column, value_set=pa.array(wanted, type=column.type)).to_numpy())
        if self.labels is not None:
            masks.append(_rows_with(table.column("labels"), "labels", self.labels))
        for name, values in self.attributes.items():
            masks.append(_rows_with(table.column("attributes"), name, values))
        return np.logical_and.reduce(masks) if masks else None

    def expression(self) -> pc.Expression | None:
        """Returns what of the selection an Arrow expression can say: splits and views."""
        terms = [pc.field(name).isin(list(wanted)) for name, wanted in self.equal.items()]
        return functools.reduce(operator.and_, terms) if terms else None


class _Piece(NamedTuple):
    file: DataFile
    footer: pq.FileMetaData
    row_group: int
    mask: np.ndarray | None
    rows: int


def read_features(
    table: FeatureTable,
    *,
    splits: Collection[str] | None = None,
    views: Collection[int] | None = None,
    columns: Sequence[str] = METADATA_COLUMNS,
    threads: int | None = None,
) -> Features:
    """Reads vectors into one preallocated matrix; the order is the same for the same version.

    Args:
      splits: ``train`` …; all by default. Row groups without them are not read.
      views: ``view_id`` values; all by default.
      columns: of METADATA_COLUMNS, those that are wanted beside the vectors.
      threads: that read; the cores that may be used, at most 4, by default.

    Raises:
      StoreError: for a file that is missing or damaged, or vectors of another length.
    """
    selection = Selection.of(splits, views=views)
    return read_matrix(table.path, table.data_files(), table.specification.dimension, selection, columns, threads)


def read_matrix(
    path: str,
    data_files: Sequence[DataFile],
    dimension: int,
    selection: Selection,
    columns: Sequence[str] = METADATA_COLUMNS,
    threads: int | None = None,
) -> Features:
    """Reads the selected rows of a table's data files; see read_features."""
    schema = subset(feature_schema(dimension), [*columns, "embedding"])
    root, _ = open_filesystem(path)

    def plan(file: DataFile) -> list[_Piece]:
        return list(_plan(root, file, selection))

    def read(piece: _Piece, start: int) -> pa.Table:
        return _read_piece(root, piece, schema, matrix[start : start + piece.rows])

    with ThreadPoolExecutor(threads or min(4, usable_cores())) as pool:
        pieces = [piece for planned in pool.map(plan, data_files) for piece in planned]
        ends = list(itertools.accumulate((piece.rows for piece in pieces), initial=0))
        matrix = aligned_matrix(ends[-1], dimension)
        tables = list(pool.map(read, pieces, ends))
    metadata = subset(schema, columns)
    return _features(matrix, pa.concat_tables([metadata.empty_table(), *tables]))


def aligned_matrix(rows: int, dimension: int) -> np.ndarray:
    """Returns room for ``float32[rows, dimension]`` that begins where TensorFlow can use it without a copy."""
    room = np.empty(rows * dimension + ALIGNMENT // 4, np.float32)
    start = -room.ctypes.data % ALIGNMENT // 4
    return room[start : start + rows * dimension].reshape(rows, dimension)


def iterate(
    table: FeatureTable,
    columns: Sequence[str],
    batch_rows: int = BATCH_ROWS,
    *,
    splits: Collection[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yields the table's rows as record batches, file by file, holding a batch and a row group at a time."""
    for file in table.data_files():
        yield from read_file(file.uri, columns, batch_rows, splits=splits)


def read_file(
    data_file: str,
    columns: Sequence[str],
    batch_rows: int = BATCH_ROWS,
    *,
    splits: Collection[str] | None = None,
    views: Collection[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yields rows of one data file as record batches with exactly ``columns``."""
    selection = Selection.of(splits, views=views)
    read = _schema_read(columns, selection)
    root, path = open_filesystem(data_file)
    with file_errors(path), root.open_input_file(path) as source:
        file = pq.ParquetFile(source)
        groups = [group for group in range(file.num_row_groups) if selection.may_match(file.metadata, group)]
        for found in _read_groups(source, file, groups, read.names, batch_rows):
            yield from _selected(found, read, selection, columns).to_batches()


def _read_groups(
    source: pa.NativeFile, file: pq.ParquetFile, groups: Sequence[int], names: Sequence[str], batch_rows: int
) -> Iterator[pa.Table]:
    """Yields at most ``batch_rows`` rows at a time; the vectors of row groups so small come from their pages."""
    others = [name for name in names if name != "embedding"]
    for group in groups:
        small = "embedding" in names and file.metadata.row_group(group).num_rows <= batch_rows
        vectors = read_lists(source, file.metadata, group, "embedding") if small else None
        if vectors is not None:
            found = file.read_row_group(group, columns=others, use_threads=False)
            yield pa.table({"embedding": vectors, **dict(zip(others, found.select(others).columns, strict=True))})
            continue
        for batch in file.iter_batches(batch_rows, row_groups=[group], columns=names, use_threads=False):
            yield pa.Table.from_batches([batch])


def read_row_group(file: pq.ParquetFile, group: int, columns: Sequence[str], selection: Selection) -> pa.Table:
    """Returns the selected rows of a row group with exactly ``columns``."""
    read = _schema_read(columns, selection)
    found = file.read_row_group(group, columns=read.names, use_threads=False)
    return _selected(found, read, selection, columns)


def _schema_read(columns: Sequence[str], selection: Selection) -> pa.Schema:
    """Returns the schema of the columns, and of those that tell which rows are wanted."""
    return subset(feature_schema(0).remove_metadata(), dict.fromkeys([*columns, *selection.columns]))


def _selected(table: pa.Table, read: pa.Schema, selection: Selection, columns: Sequence[str]) -> pa.Table:
    found = conform(table, read)
    mask = selection.mask(found)
    everything = mask is None or mask.all()  # as most often; then no vector is copied
    return (found if everything else found.filter(pa.array(mask))).select(list(columns))


def features_of(batch: pa.RecordBatch, dimension: int) -> Features:
    """Returns a batch's rows as Features; its vectors are not copied."""
    table = pa.Table.from_batches([batch])
    (vectors,) = vectors_of(table.column("embedding"), dimension, "the batch")
    return _features(vectors, table.drop_columns(["embedding"]))


def concatenate(columns: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    """Joins pieces of a column; none make an empty one."""
    return pa.concat_arrays([pa.array([], kind), *columns])


def vectors_of(column: pa.ChunkedArray, dimension: int, path: str) -> Iterator[np.ndarray]:
    """Yields the vectors of a column, chunk by chunk, as ``float32[n, dimension]`` without copying."""
    for chunk in column.chunks:
        values = chunk.flatten().to_numpy(zero_copy_only=False)
        if chunk.null_count or not (np.diff(chunk.offsets.to_numpy()) == dimension).all():
            raise StoreError(f"{path} has vectors that are not of length {dimension}; the table is damaged")
        yield values.reshape(len(chunk), dimension)


def _plan(root: fs.FileSystem, file: DataFile, selection: Selection) -> Iterator[_Piece]:
    """Yields the row groups of a file that hold wanted rows, and which rows those are."""
    path = open_filesystem(file.uri)[1]
    with file_errors(path), root.open_input_file(path) as source:
        opened = pq.ParquetFile(source)
        for group in range(opened.num_row_groups):
            if not selection.may_match(opened.metadata, group):
                continue
            rows, mask = opened.metadata.row_group(group).num_rows, None
            if selection.columns:
                schema = subset(feature_schema(0), selection.columns)
                found = opened.read_row_group(group, columns=schema.names, use_threads=False)
                mask = selection.mask(conform(found, schema))
            wanted = rows if mask is None else int(mask.sum())
            if wanted:
                yield _Piece(file, opened.metadata, group, None if wanted == rows else mask, wanted)


def _read_piece(root: fs.FileSystem, piece: _Piece, schema: pa.Schema, matrix: np.ndarray) -> pa.Table:
    """Fills ``matrix`` with the vectors of a piece and returns its other columns."""
    path = open_filesystem(piece.file.uri)[1]
    rows = piece.footer.row_group(piece.row_group).num_rows
    vectors = matrix if piece.mask is None else np.empty((rows, matrix.shape[1]), np.float32)
    names = [name for name in schema.names if name != "embedding"]
    with file_errors(path), root.open_input_file(path) as source:
        fill_vectors(source, piece.footer, piece.row_group, vectors, path)
        file = pq.ParquetFile(source, metadata=piece.footer)
        found = file.read_row_group(piece.row_group, columns=names, use_threads=False) if names else pa.table({})
    metadata = conform(found, subset(schema, names))
    if piece.mask is None:
        return metadata
    np.compress(piece.mask, vectors, axis=0, out=matrix)
    return metadata.filter(pa.array(piece.mask)) if names else metadata


def fill_vectors(source: pa.NativeFile, footer: pq.FileMetaData, group: int, vectors: np.ndarray, path: str) -> None:
    """Fills ``vectors``, ``float32[rows, dimension]``, with those of a row group; ``path`` is for messages."""
    if not read_vectors(source, footer, group, "embedding", vectors):
        file = pq.ParquetFile(source, metadata=footer)
        found = read_row_group(file, group, ["embedding"], Selection())
        np.concatenate(list(vectors_of(found.column("embedding"), vectors.shape[1], path)), out=vectors)


def _features(matrix: np.ndarray, metadata: pa.Table) -> Features:
    names = {"image_id": "image_ids", "image_uri": "image_uris", "split": "splits", "group": "groups"}
    fields: dict[str, Any] = {}
    for name in metadata.column_names:
        column = metadata.column(name)
        if name == "view_id":
            fields["view_ids"] = column.to_numpy()
        elif name == "labels":
            fields["labels"] = [tuple(value or ()) for value in column.to_pylist()]
        elif name == "attributes":
            fields["attributes"] = [dict(row) for chunk in column.chunks for row in pairs_of(chunk)]
        else:
            fields[names.get(name, name)] = column.to_pylist()
    return Features(embeddings=matrix, **fields)


def count_images(file: DataFile) -> int:
    """Returns how many rows of a data file are images themselves rather than views; reads a column when in doubt."""
    if not file.has_views:
        return file.rows
    return sum(len(batch) for batch in read_file(file.uri, ["view_id"], 65536, views=(0,)))


def pairs_of(chunk: pa.MapArray) -> Iterator[list[tuple[str, str]]]:
    """Yields the pairs of each row from the flat columns; ``to_pylist`` of a map is ten times slower."""
    offsets = chunk.offsets.to_pylist()
    pairs = list(zip(chunk.keys.to_pylist(), chunk.items.to_pylist(), strict=True))
    for begin, end in itertools.pairwise(offsets):
        yield pairs[begin:end]


def _several(values: Any) -> Any:
    return [values] if isinstance(values, str | int) else values


def _rows_with(column: pa.ChunkedArray, name: str, wanted: Sequence[str]) -> np.ndarray:
    """Returns ``bool[N]``: the row's list, or the map's value of ``name``, has one of the wanted texts."""
    found = []
    for chunk in column.chunks:
        is_map = pa.types.is_map(chunk.type)
        first, last = (chunk.offsets[0].as_py(), chunk.offsets[-1].as_py()) if len(chunk) else (0, 0)
        texts = (chunk.items if is_map else chunk.values).slice(first, last - first)
        hits = pc.fill_null(pc.is_in(texts, value_set=pa.array(wanted, pa.string())), False)
        if is_map:
            hits = pc.and_(hits, pc.equal(chunk.keys.slice(first, last - first), name))
        sums = np.concatenate([[0], np.cumsum(hits.to_numpy(zero_copy_only=False))])
        offsets = chunk.offsets.to_numpy() - first
        found.append(sums[offsets[1:]] > sums[offsets[:-1]])
    return np.concatenate(found) if found else np.zeros(0, dtype=bool)


@contextlib.contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Turns what reading a data file raises into a StoreError with its name."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing: this version was vacuumed or damaged; open the newest one") from error
    except (OSError, pa.ArrowException) as error:
        reason = one_line(error)
        raise StoreError(f"{path} cannot be read ({reason}); restore the file or embed its images again") from error

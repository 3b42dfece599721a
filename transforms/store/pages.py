"""Vectors straight from the pages of a Parquet column: lists of one length, whose levels need not be built.

Arrow makes two levels for each value of a list and looks at all of them, which takes longer than the values
themselves. In a plain, uncompressed chunk the values of a page lie side by side, so they are copied as they are,
and the levels are only looked at, once for each pattern. https://parquet.apache.org/docs/file-format/data-pages
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_PLAIN, _RLE = 0, 3
_DATA_PAGE = 0
_TYPE, _STORED_BYTES, _DATA_HEADER = 1, 3, 5
"""Numbers of fields in a page header."""
_HEADER_BYTES = 1024
_LIST_LEVEL_BITS, _NULL_LEVEL_BITS, _PRESENT = 1, 2, 2


def read_lists(source: pa.NativeFile, footer: pq.FileMetaData, group: int, name: str) -> pa.ListArray | None:
    """Returns a row group's column of vectors; None where Arrow must read it (see read_vectors)."""
    rows, leaf = footer.row_group(group).num_rows, _leaf(footer, name)
    if not rows or leaf is None:
        return None
    dimension = footer.row_group(group).column(leaf).num_values // rows
    room = pa.allocate_buffer(4 * rows * dimension)  # is used again, where NumPy asks for fresh pages
    vectors = np.frombuffer(room, np.float32).reshape(rows, dimension)
    if not read_vectors(source, footer, group, name, vectors):
        return None
    offsets = np.arange(rows + 1, dtype=np.int32) * dimension
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.reshape(-1)))


def read_vectors(source: pa.NativeFile, footer: pq.FileMetaData, group: int, name: str, vectors: np.ndarray) -> bool:
    """Fills ``vectors``, ``float32[rows, dimension]``, with a row group's column of lists.

    Returns:
      False when the column is stored in another way, has nulls or lists of another length: Arrow must read it.
    """
    leaf = _leaf(footer, name)
    if leaf is None:
        return False
    chunk, kind = footer.row_group(group).column(leaf), footer.schema.column(leaf)
    levels = (kind.max_repetition_level, kind.max_definition_level)
    stored = (chunk.physical_type, chunk.compression, chunk.has_dictionary_page, chunk.num_values)
    if levels != (1, _PRESENT) or stored != ("FLOAT", "UNCOMPRESSED", False, vectors.size):
        return False
    source.seek(chunk.data_page_offset)
    data = memoryview(source.read_buffer(chunk.total_compressed_size))
    try:
        return _copy_pages(data, vectors.reshape(-1), vectors.shape[1])
    except (IndexError, KeyError, ValueError):
        return False


def _leaf(footer: pq.FileMetaData, name: str) -> int | None:
    """Returns the place of a list column's values; None when it is no list of values."""
    leaves = [index for index in range(footer.num_columns) if footer.schema.column(index).path.startswith(f"{name}.")]
    return leaves[0] if len(leaves) == 1 else None


def _copy_pages(data: memoryview, values: np.ndarray, dimension: int) -> bool:
    """Copies page after page; returns whether each was as expected and all values have come."""
    at = done = 0
    while done < len(values):
        header, length = _read_struct(bytes(data[at : at + _HEADER_BYTES]), 0)
        count = header[_DATA_HEADER][1]
        encodings = [header[_DATA_HEADER][number] for number in (2, 3, 4)]
        if header[_TYPE] != _DATA_PAGE or encodings != [_PLAIN, _RLE, _RLE] or not 0 < count <= len(values) - done:
            return False
        page = data[at + length : at + length + header[_STORED_BYTES]]
        lists, page = _split_levels(page)
        nulls, page = _split_levels(page)
        starts = _list_starts(lists, count) + done
        if not np.array_equal(starts, np.arange(-(-done // dimension) * dimension, done + count, dimension)):
            return False
        if not _all_present(nulls, count) or len(page) != 4 * count:
            return False
        values[done : done + count] = np.frombuffer(page, "<f4")
        at, done = at + length + header[_STORED_BYTES], done + count
    return True


def _split_levels(page: memoryview) -> tuple[bytes, memoryview]:
    """Divides levels, which begin with their length, from what follows."""
    end = 4 + int.from_bytes(page[:4], "little")
    return bytes(page[4:end]), page[end:]


@functools.lru_cache(maxsize=256)
def _list_starts(encoded: bytes, count: int) -> np.ndarray:
    """Returns which of ``count`` values begin a list; the pages of equal row groups have equal levels."""
    return np.flatnonzero(_levels(encoded, _LIST_LEVEL_BITS, count) == 0)


@functools.lru_cache(maxsize=256)
def _all_present(encoded: bytes, count: int) -> bool:
    return bool((_levels(encoded, _NULL_LEVEL_BITS, count) == _PRESENT).all())


def _levels(encoded: bytes, bits: int, count: int) -> np.ndarray:
    """Decodes runs of equal levels, and levels packed by ``bits`` in groups of eight."""
    runs, at, total = [np.zeros(0, np.uint8)], 0, 0
    while total < count:
        header, at = _varint(encoded, at)
        if header & 1:
            end = at + (header >> 1) * bits
            packed = np.unpackbits(np.frombuffer(encoded[at:end], np.uint8), bitorder="little").reshape(-1, bits)
            runs.append(np.packbits(packed, axis=1, bitorder="little")[:, 0])
            at = end
        else:
            runs.append(np.full(min(header >> 1, count - total), encoded[at], np.uint8))
            at += 1
        total += len(runs[-1])
    return np.concatenate(runs)[:count]


def _read_struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """Reads a structure of Thrift's compact protocol, as far as page headers use it; returns where it ends."""
    fields: dict[int, Any] = {}
    number = 0
    while data[at]:
        step, kind = data[at] >> 4, data[at] & 15
        at += 1
        if not step:
            raise ValueError("a field whose number is written out: no page header has one")
        number += step
        if kind in (1, 2):
            fields[number] = kind == 1
        elif kind in (4, 5, 6):
            value, at = _varint(data, at)
            fields[number] = (value >> 1) ^ -(value & 1)
        elif kind == 8:
            length, at = _varint(data, at)
            at += length
        elif kind == 12:
            fields[number], at = _read_struct(data, at)
        else:
            raise ValueError(f"a field of type {kind}: no page header has one")
    return fields, at + 1


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at

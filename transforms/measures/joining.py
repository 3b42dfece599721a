"""Rows of several sources put side by side: spread by what identifies them, and aligned within a part."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import InputError
from transforms.measures.batch import Bools
from transforms.measures.rows import normalise

CLUSTER, CLUSTER_DISTANCE = "cluster", "cluster_distance"
"""The columns that a cluster of embeddings adds; the first is the attribute's name too."""


class Aligned(NamedTuple):
    """Rows of the same images in the same order, and how many found no partner."""

    first: pa.RecordBatch
    second: pa.RecordBatch
    only_first: int
    only_second: int
    duplicates: int


def row_keys(table: pa.RecordBatch) -> pa.Array:
    """Returns what identifies each row: its image_id, else its image_uri.

    Raises:
      InputError: a row has neither.
    """
    ids = table.column("image_id")
    keys = pc.if_else(pc.fill_null(pc.not_equal(ids, ""), False), ids, table.column("image_uri"))
    if pc.any(pc.fill_null(pc.equal(keys, ""), True)).as_py():
        raise InputError("rows have neither image_id nor image_uri to be paired by: name a column with --id-column")
    return keys


def partitioned(table: pa.RecordBatch, partitions: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yields the rows of each partition, by a checksum of their key."""
    table = normalise(table)
    keys = row_keys(table)
    code = np.array([zlib.crc32(key.encode()) for key in keys.to_pylist()], np.int64) % partitions
    for part in np.unique(code).tolist():
        yield part, table.filter(pa.array(code == part))


def aligned(first: Sequence[pa.RecordBatch], second: Sequence[pa.RecordBatch]) -> Aligned:
    """Returns the rows that both have once; those that either has several times are left out."""
    if not first or not second:
        rows = [sum(table.num_rows for table in tables) for tables in (first, second)]
        empty = next(iter((*first, *second))).slice(0, 0)
        return Aligned(empty, empty, rows[0], rows[1], 0)
    one, two = _joined(first), _joined(second)
    keys = [row_keys(table) for table in (one, two)]
    once = [_once(side) for side in keys]
    duplicates = sum(int((~mask).sum()) for mask in once)
    places = [np.flatnonzero(mask) for mask in once]
    kept = [side.take(pa.array(place)) for side, place in zip(keys, places, strict=True)]
    partner = pc.fill_null(pc.index_in(kept[0], kept[1]), -1).to_numpy(zero_copy_only=False)
    found = np.flatnonzero(partner >= 0)
    return Aligned(
        one.take(pa.array(places[0][found])),
        two.take(pa.array(places[1][partner[found]])),
        len(partner) - len(found),
        len(kept[1]) - len(found),
        duplicates,
    )


def attached(
    tables: Sequence[pa.RecordBatch], others: Sequence[pa.RecordBatch], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yields ``tables`` with ``columns`` of the first row of ``others`` that has the same key, null without."""
    other = _joined(others) if others else None
    for table in tables:
        if other is not None:
            partner = pc.index_in(row_keys(table), row_keys(other))
            for name in columns:
                table = table.set_column(table.schema.get_field_index(name), name, other.column(name).take(partner))
        yield table


def _once(keys: pa.Array) -> Bools:
    coded = keys.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    once: Bools = np.bincount(coded)[coded] == 1 if len(coded) else np.zeros(0, np.bool_)
    return once


def _joined(tables: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches as one; confidences of several precisions get the finest."""
    table = pa.concat_tables([pa.Table.from_batches([batch]) for batch in tables], promote_options="permissive")
    return table.combine_chunks().to_batches()[0]

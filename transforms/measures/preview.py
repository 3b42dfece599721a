"""A look at predictions before they are measured: whether there are labels, and which attributes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import InputError, OptionError
from transforms.measures.columns import ColumnMapping
from transforms.measures.files import OURS, list_parts, read_part
from transforms.measures.properties import PROPERTY_COLUMNS, image_properties
from transforms.measures.rows import NEEDED, normalise

PREVIEW_ROWS = 1_000_000
"""Rows that are looked at before it is said that something is missing."""

SIGMOID = "sigmoid"
"""The activation of a model that gives a row several labels."""

_NAMED = 20


def check_predictions(files: Sequence[str], slices: Sequence[str], mapping: ColumnMapping = OURS) -> bool:
    """Makes sure that some row has a label and that every attribute of ``slices``, or both of a pair, exists.

    Reads until all has been seen, PREVIEW_ROWS at most.

    Returns:
      Whether the predictions say that their model gives each class a confidence of its own (a sigmoid).

    Raises:
      InputError: no row has a label, or a file cannot be read.
      OptionError: no row has an attribute of ``slices`` (those that there are are named), a mapped label or weight.
    """
    labelled, several, weighted, seen, rows = False, False, not mapping.weight, set[str](), 0
    wanted = [part for name in slices for part in name.split("*")]
    for table in _tables(files, mapping):
        rows += table.num_rows
        several = several or bool(pc.any(pc.equal(table.column("activation"), SIGMOID)).as_py())
        weighted = weighted or bool(pc.any(pc.is_finite(table.column("weight"))).as_py())
        labelled = labelled or _has_labels(table.column("labels"))
        seen |= _attribute_names(table.column("attributes")) | set(image_properties(table))
        if (labelled and weighted and seen.issuperset(wanted)) or rows >= PREVIEW_ROWS:
            break
    if not rows:
        raise InputError(f"{files[0]} and whatever is beside it has no rows")
    if not weighted:
        raise OptionError(f"--weight-column {mapping.weight} holds no number in the first {rows:,} predictions")
    if not labelled and mapping.label:
        raise OptionError(f"--label-column {mapping.label} holds no label in the first {rows:,} predictions")
    if not labelled:
        raise InputError(
            f"none of the first {rows:,} predictions in {files[0]} has a label to compare with: score "
            "images that are listed with labels (a folder per label, or a manifest with a column label), as Parquet"
        )
    missing = [name for name in wanted if name not in seen]
    if missing:
        there = ", ".join(sorted(seen)[:_NAMED]) or "none"
        raise OptionError(f"--slice {missing[0]} is no attribute of the first {rows:,} predictions; there are: {there}")
    return several


def _tables(files: Sequence[str], mapping: ColumnMapping) -> Iterator[pa.RecordBatch]:
    for file in files:
        for part in list_parts(file, mapping):
            for table in read_part(
                part, ("labels", "attributes", "activation", "weight", *PROPERTY_COLUMNS, NEEDED[0]), mapping
            ):
                yield normalise(table)


def _has_labels(column: pa.Array) -> bool:
    texts = pc.utf8_trim_whitespace(column.flatten())
    return bool(pc.any(pc.not_equal(texts, "")).as_py())


def _attribute_names(column: pa.MapArray) -> set[str]:
    offsets = column.offsets
    keys = column.keys.slice(offsets[0].as_py(), offsets[-1].as_py() - offsets[0].as_py())
    return set(pc.unique(keys).to_pylist())

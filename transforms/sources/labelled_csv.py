"""CSV without a header: ``uri,label[,label…]`` as of the flowers data set, ``[ml_use,]uri[,label…]`` of Vertex AI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transforms.sources.folder import SPLIT_NAMES
from transforms.sources.manifest import UNASSIGNED, reference_of
from transforms.sources.reference import ImageReference
from transforms.sources.rows import Row, csv_records


def list_flowers_csv(uri: str, root: str) -> Iterator[ImageReference]:
    """Lists an address and its labels a line."""
    for number, fields in enumerate(csv_records(uri), start=1):
        row = fields if isinstance(fields, str) else _row("", fields)
        yield reference_of(row, f"{uri}#row={number}", root)


def list_vertex_csv(uri: str, root: str) -> Iterator[ImageReference]:
    """Lists an address and its labels a line, behind the split where there is one."""
    for number, fields in enumerate(csv_records(uri), start=1):
        yield reference_of(_vertex_row(fields), f"{uri}#row={number}", root)


def is_ml_use(field: str) -> bool:
    """Returns whether a field names a split in Vertex's way."""
    return field.strip().lower() in {*SPLIT_NAMES, UNASSIGNED}


def _vertex_row(fields: list[str] | str) -> Row:
    if isinstance(fields, str):
        return fields
    if len(fields) > 1 and (is_ml_use(fields[0]) or not fields[0].strip()):
        return _row(fields[0], fields[1:])
    return _row("", fields)


def _row(split: str, fields: Sequence[str]) -> Row:
    return {"uri": fields[0], "labels": list(fields[1:]), "split": split}

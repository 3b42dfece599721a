"""Manifests with named columns: the project's own, and Hugging Face's metadata of an ImageFolder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from transforms.errors import ErrorClass
from transforms.files.filesystem import SCHEMES, is_local, join, local_path, scheme_of
from transforms.sources.columns import Columns
from transforms.sources.folder import SPLIT_NAMES, local_fingerprint
from transforms.sources.reference import ImageReference
from transforms.sources.rows import Row, read_rows

URI_COLUMN = "uri"
FILE_NAME_COLUMN = "file_name"
UNASSIGNED = "unassigned"
"""Vertex's word for an image whose split is not given."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def list_manifest(
    uri: str, root: str, columns: Columns | None = None, uri_column: str = URI_COLUMN
) -> Iterator[ImageReference]:
    """Lists what a manifest names; a row that cannot be understood is listed with its problem.

    Args:
      uri: the manifest: CSV, TSV, JSONL or Parquet, told by its first bytes.
      root: folder that relative addresses are relative to.
      columns: their names; every column that they do not name is an attribute.
      uri_column: of the address, unless ``columns`` names it.

    Raises:
      InputError: the manifest is empty or lacks a column.
    """
    columns = columns or Columns()
    uri_column = columns.uri or uri_column
    for number, row in read_rows(uri, list(dict.fromkeys([uri_column, *columns.named]))):
        yield reference_of(row, f"{uri}#row={number}", root, columns, uri_column)


def reference_of(
    row: Row, place: str, root: str, columns: Columns | None = None, uri_column: str = URI_COLUMN
) -> ImageReference:
    """Turns a row into a reference; ``place`` names the row where it has no address."""
    if isinstance(row, str):
        return ImageReference(uri=place).with_problem(ErrorClass.BAD_ROW, row)
    address = row.get(uri_column)
    if not isinstance(address, str) or not address.strip():
        return ImageReference(uri=place).with_problem(ErrorClass.BAD_ROW, f"no {uri_column} in this row")
    try:
        address.encode()
        fields = metadata_of(row, columns or Columns(), (uri_column,))
    except UnicodeEncodeError:
        return ImageReference(uri=place).with_problem(ErrorClass.BAD_ROW, "the row is not UTF-8")
    except (ValueError, RecursionError) as error:
        return ImageReference(uri=place).with_problem(ErrorClass.BAD_ROW, str(error))
    uri, problem = _address(address.strip(), root)
    reference = ImageReference(uri=uri, fingerprint="" if problem else _fingerprint(uri), **fields)
    return reference.with_problem(ErrorClass.FORBIDDEN_URI, problem) if problem else reference


def metadata_of(row: Mapping[str, Any], columns: Columns, ignored: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns labels, split, group and attributes of a row, as fields of an ImageReference.

    Raises:
      ValueError: the split is none, or a text is no UTF-8 (UnicodeEncodeError).
    """
    known = {*ignored, *columns.label_names, columns.split, columns.group}
    texts = ((str(name), text_of(value)) for name, value in row.items() if name not in known)
    attributes = tuple(sorted((name, value) for name, value in texts if name and value))
    labels = tuple(text for text in map(_label, _labels(row, columns)) if text)
    group = text_of(row.get(columns.group))
    "".join((*labels, group, *(name + value for name, value in attributes))).encode()  # or it is no UTF-8
    return {"labels": labels, "split": split_of(row.get(columns.split)), "group": group, "attributes": attributes}


def split_of(value: Any) -> str:
    """Returns the split that a text names, empty for none.

    Raises:
      ValueError: the text names something else.
    """
    text = text_of(value).strip()
    if not text or text.lower() == UNASSIGNED:
        return ""
    if text.lower() not in SPLIT_NAMES:
        raise ValueError(f"split must be train, validation or test, got {text!r}")
    return SPLIT_NAMES[text.lower()]


def text_of(value: Any) -> str:
    """Numbers keep the form that they have in the file: 1.0 from a float column of whole numbers is 1."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=str)
    return str(value)


def _labels(row: Mapping[str, Any], columns: Columns) -> list[Any]:
    for name in columns.label_names:
        value = row.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, list):
            return value
        separator = columns.separator_of(name)
        return value.split(separator) if separator and isinstance(value, str) else [value]
    return []


def _label(value: Any) -> str:
    return text_of(value).strip()


def _address(address: str, root: str) -> tuple[str, str]:
    """Returns the absolute address and, when it may not be followed, why."""
    if _CONTROL.search(address):
        return address.encode("unicode_escape").decode(), "control characters in the address"
    scheme = scheme_of(address)
    if scheme and scheme not in SCHEMES:
        return address, f"scheme {scheme}:// is not read; use a local path, {', '.join(SCHEMES)}"
    if ".." in address.split("/"):
        return (
            address,
            "'..' in the address; name files below the folder that --input-root names",
        )
    if scheme and scheme != "file":
        return address, ""
    if scheme == "file" or address.startswith("/"):
        return local_path(address), ""
    joined = join(root, address)
    return (local_path(joined) if is_local(joined) else joined), ""


def _fingerprint(uri: str) -> str:
    return local_fingerprint(uri) if is_local(uri) else ""

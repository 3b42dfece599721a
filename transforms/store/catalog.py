"""The tables of a store: one directory each, named after their encoder."""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

from pyarrow import fs

from transforms.encoders.specification import EncoderSpecification
from transforms.errors import StoreError
from transforms.files.filesystem import join, open_filesystem
from transforms.store.delta import normal_path, one_line
from transforms.store.log import AtVersion
from transforms.store.table import FeatureTable

_LOG = "_delta_log"
_TABLE_NAME = re.compile(r"[a-z0-9.-]+-[0-9a-f]{8}")
"""Names of tables, and of those that a run has only begun."""

_SHOWN = 5


class TableEntry(NamedTuple):
    """A directory of a store that holds a table.

    Attributes:
      name: of the directory, ``<encoder name>-<first 8 digits of the fingerprint>``.
      path: absolute path or address.
    """

    name: str
    path: str


def table_path(store: str, specification: EncoderSpecification) -> str:
    """Returns where an encoder's table lies in a store, whether it is there or not."""
    return join(normal_path(store), specification.table_name)


def find_encoder(store: str, specification: EncoderSpecification) -> EncoderSpecification | None:
    """Returns the specification of a store's table for an encoder, with the calibration that it has in int8.

    Args:
      specification: of the encoder, without a calibration: any table of it will do.
    """
    path = table_path(store, specification)
    if FeatureTable.exists(path):
        return specification
    if specification.precision != "int8":
        return None
    place = normal_path(store)
    root, base = open_filesystem(place)
    for entry in _entries(root, base, place):
        if entry.base_name.startswith(f"{specification.name}-") and _has_log(root, entry):
            found = FeatureTable.open(join(place, entry.base_name)).specification
            if dataclasses.replace(found, calibration="").fingerprint == specification.fingerprint:
                return dataclasses.replace(specification, calibration=found.calibration)
    return None


def check_store(store: str) -> None:
    """Accepts a path that a store can be made or continued at: missing, empty, or with tables, if only begun.

    Raises:
      StoreError: for a file, a table, or a directory that holds other things.
    """
    place = normal_path(store)
    root, path = open_filesystem(place)
    entries = _entries(root, path, place)
    if entries and not any(_has_log(root, entry) or _is_begun(entry) for entry in entries):
        raise StoreError(f"{place} is no store, it holds {_shown(_names(entries))}; name an empty or a new directory")


def list_tables(store: str) -> list[TableEntry]:
    """Returns the tables of a store, sorted by name; there is at least one.

    Raises:
      StoreError: for a path that is missing, a file, empty, itself a table, or that holds no table.
    """
    place = normal_path(store)
    root, path = open_filesystem(place)
    entries = _entries(root, path, place)
    if not entries:
        kind = root.get_file_info(path).type
        state = "does not exist" if kind == fs.FileType.NotFound else "is empty"
        raise StoreError(f"store {place} {state}; make one with `heliograph embed --input … --store …`")
    tables = [entry for entry in entries if _has_log(root, entry)]
    if tables:
        return sorted(TableEntry(entry.base_name, join(place, entry.base_name)) for entry in tables)
    if any(_is_begun(entry) for entry in entries):
        raise StoreError(f"store {place} has no finished table; let `heliograph embed` finish, or run it again")
    raise StoreError(
        f"{place} is no store, it holds {_shown(_names(entries))}; name the one that `heliograph embed` made"
    )


def open_table(store: str, encoder: str | None = None, version: AtVersion = None) -> FeatureTable:
    """Opens a table of a store.

    Args:
      encoder: an encoder's fingerprint (or at least 8 digits of it), the table's name, or the encoder's name
        when one table has it; none when the store has one table only.
      version: of the table, a number or a time; the newest by default.

    Raises:
      StoreError: as list_tables; also when no table or several are meant, naming those there are.
    """
    tables = list_tables(store)
    if encoder is None:
        if len(tables) > 1:
            names = _shown([table.name for table in tables])
            raise StoreError(f"{store} has several tables, name one (train: --encoder-table NAME): {names}")
        return FeatureTable.open(tables[0].path, version)
    meant = [entry for entry in tables if _is_meant(entry, encoder)]
    if not meant:
        names = _shown([table.name for table in tables])
        raise StoreError(f"{store} has no table of {encoder!r}, it has {names}; embed with that encoder first")
    if len(meant) > 1:
        raise StoreError(f"{encoder!r} means several tables of {store}: {_shown([t.name for t in meant])}; name one")
    return FeatureTable.open(meant[0].path, version)


def _is_meant(entry: TableEntry, encoder: str) -> bool:
    """Tells from the directory's name; for a longer fingerprint than the name shows, from the log."""
    name, _, digits = entry.name.rpartition("-")
    if encoder in (entry.name, name):
        return True
    if len(encoder) < 8 or not encoder.startswith(digits):
        return False
    return FeatureTable.open(entry.path).specification.fingerprint.startswith(encoder)


def _entries(root: fs.FileSystem, path: str, place: str) -> list[fs.FileInfo]:
    """Lists a store; a path that does not exist has no entries."""
    try:
        if root.get_file_info(path).type == fs.FileType.File:
            raise StoreError(f"store {place} is a file; name a directory")
        entries = root.get_file_info(fs.FileSelector(path, allow_not_found=True))
    except OSError as error:
        raise StoreError(f"store {place} cannot be read: {one_line(error)}") from error
    if _LOG in _names(entries):
        raise StoreError(f"{place} is one table of a store; name the store, {place.rsplit('/', 1)[0]}")
    return sorted(entries, key=lambda entry: str(entry.base_name))


def _has_log(root: fs.FileSystem, entry: fs.FileInfo) -> bool:
    log = join(entry.path, _LOG)
    return entry.type == fs.FileType.Directory and root.get_file_info(log).type == fs.FileType.Directory


def _is_begun(entry: fs.FileInfo) -> bool:
    return entry.type == fs.FileType.Directory and bool(_TABLE_NAME.fullmatch(entry.base_name))


def _names(entries: list[fs.FileInfo]) -> list[str]:
    return [entry.base_name for entry in entries]


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

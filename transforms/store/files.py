"""The files of a table's directory, whether a version has them or not."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import NamedTuple

from pyarrow import fs

from transforms.errors import StoreError
from transforms.files.filesystem import join, open_filesystem, read_bytes, remove_file
from transforms.store import delta

WORK = "_work"
"""Where runs keep their markers, heartbeats and unpublished parts; see shards/workspace.py."""


class StoredFile(NamedTuple):
    """A file below a table.

    Attributes:
      name: relative to the table.
      size: bytes.
      modified: when it was written, UTC; the epoch where the file system does not say.
    """

    name: str
    size: int
    modified: datetime.datetime


def list_data_files(path: str) -> list[StoredFile]:
    """Returns the files below ``data/``, temporary ones included."""
    return _list(path, "data")


def list_work_files(path: str) -> list[StoredFile]:
    """Returns the files of unfinished runs."""
    return _list(path, WORK)


def marked_parts(path: str, names: list[str] | None = None) -> Iterator[str]:
    """Yields the data files that the markers of finished shards name; a marker that is cut short names none.

    Args:
      names: of the markers, relative to the table; all by default.
    """
    system, base = open_filesystem(path)
    markers = [file.name for file in _list(path, f"{WORK}/shards")] if names is None else names
    for name in markers:
        try:
            yield from json.loads(read_bytes(system, join(base, name)))["files"].values()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # taken away by its run, or no marker


def delete_files(path: str, names: list[str]) -> None:
    """Removes files of a table; one that is gone already is as good.

    Raises:
      StoreError: naming the file that cannot be removed.
    """
    system, base = open_filesystem(path)
    for name in names:
        try:
            remove_file(system, join(base, name))
        except OSError as error:
            raise StoreError(f"{join(path, name)} cannot be removed: {delta.one_line(error)}; run again") from error


def _list(path: str, directory: str) -> list[StoredFile]:
    system, base = open_filesystem(path)
    try:
        selector = fs.FileSelector(join(base, directory), recursive=True, allow_not_found=True)
        infos = [info for info in system.get_file_info(selector) if info.type == fs.FileType.File]
    except OSError as error:
        raise StoreError(f"{join(path, directory)} cannot be listed: {delta.one_line(error)}") from error
    epoch = datetime.datetime.fromtimestamp(0, datetime.UTC)
    return sorted(
        StoredFile(info.path[len(base.rstrip("/")) + 1 :], info.size or 0, info.mtime or epoch) for info in infos
    )

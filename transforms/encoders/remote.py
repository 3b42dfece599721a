"""Encoders that lie in an object store: copied to this machine's cache once, under the digest of their content."""

from __future__ import annotations

import contextlib
import os
import pathlib

from pyarrow import fs

from transforms.encoders.conversion import cache_directory, scratch_directory
from transforms.encoders.digest import directory_digest, file_digest
from transforms.encoders.handle import Handle
from transforms.errors import EncoderError, InputError
from transforms.files.filesystem import open_filesystem, read_bytes

COPIES = "encoders"
"""Below the cache directory: ``encoders/<digest>/<name>``."""


def copy_here(handle: Handle, expected_sha256: str | None = None) -> pathlib.Path:
    """Brings an encoder to this machine; nothing is read when a copy of the expected digest is there.

    Args:
      handle: of the kind REMOTE.
      expected_sha256: the digest that it must have, None when it is not known yet.

    Returns:
      The directory of a SavedModel, or a .keras file.

    Raises:
      EncoderError: it does not exist, cannot be read, or the cache cannot be written.
    """
    copies, name = cache_directory() / COPIES, handle.target.rstrip("/").rsplit("/", 1)[-1]
    if expected_sha256 is not None and (copies / expected_sha256 / name).exists():
        return copies / expected_sha256 / name
    with scratch_directory(copies) as scratch:
        copy = pathlib.Path(scratch, name)
        _copy(handle, copy)
        place = copies / (directory_digest(copy) if copy.is_dir() else file_digest(copy))
        with contextlib.suppress(OSError):  # another process was faster: its copy is as good
            os.rename(scratch, place)
    return place / name


def _copy(handle: Handle, copy: pathlib.Path) -> None:
    try:
        system, root = open_filesystem(handle.target)
        found = system.get_file_info(root)
        if found.type == fs.FileType.NotFound:
            raise EncoderError(f"--encoder {handle.source} does not exist")
        files = [found]
        if found.type == fs.FileType.Directory:
            children = system.get_file_info(fs.FileSelector(root, recursive=True))
            files = [info for info in children if info.type == fs.FileType.File]
        for info in files:
            path = copy / os.path.relpath(info.path, root) if info.path != root else copy
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(read_bytes(system, info.path))
    except (OSError, InputError) as error:
        raise EncoderError(f"--encoder {handle.source} cannot be copied here: {error}") from error

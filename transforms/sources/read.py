"""Bytes of one image, from wherever it lies."""

from __future__ import annotations

import functools
import os
import stat
import time
from collections.abc import Sequence

from transforms.errors import AccessError, ErrorClass, ImageError, InputError
from transforms.files.filesystem import is_local, local_path, open_filesystem

ATTEMPTS = 3
"""How often a read is tried before it is a dead letter."""
PIECE_BYTES = 1 << 22
"""Read of an object at once: nearly every image is one piece."""
PAUSE_SECONDS = 0.1
"""Before the second attempt; doubled before each further one."""


def read_image(uri: str, roots: Sequence[str], max_bytes: int) -> bytes:
    """Reads the file that ``uri`` names.

    Args:
      uri: absolute path or address.
      roots: local folders; a local file must lie below one of them, links of both resolved.
      max_bytes: larger files are refused before they are read.

    Raises:
      ImageError: NOT_FOUND, FORBIDDEN_URI, TOO_LARGE_BYTES, or READ_ERROR after ATTEMPTS.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _read_local(uri, roots, max_bytes) if is_local(uri) else _read_remote(uri, max_bytes)
        except FileNotFoundError as error:
            raise ImageError(ErrorClass.NOT_FOUND, f"{uri} does not exist", "FileNotFoundError") from error
        except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
            raise ImageError(ErrorClass.READ_ERROR, str(error), type(error).__name__) from error
        except (OSError, ValueError) as error:
            if attempt == ATTEMPTS - 1:
                message = f"read {ATTEMPTS} times in vain: {error}"
                raise ImageError(ErrorClass.READ_ERROR, message, type(error).__name__) from error
            time.sleep(PAUSE_SECONDS * 2**attempt)
    raise AssertionError("unreachable")


def check_below(path: str, roots: Sequence[str]) -> str:
    """Returns a local path with its links resolved.

    Raises:
      ImageError: FORBIDDEN_URI when it then lies below none of the roots.
    """
    resolved = os.path.realpath(path)
    if not any(resolved == root or resolved.startswith(root.rstrip("/") + "/") for root in map(_resolved, roots)):
        raise ImageError(
            ErrorClass.FORBIDDEN_URI,
            f"{path} lies outside of the input ({resolved}); name a folder that holds it with --input-root",
        )
    return resolved


def _read_local(uri: str, roots: Sequence[str], max_bytes: int) -> bytes:
    path = local_path(uri)
    resolved = check_below(path, roots)
    # Non-blocking, so that a named pipe cannot hold the worker for ever.
    descriptor = os.open(resolved, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"{path} is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(ErrorClass.FORBIDDEN_URI, f"{path} is no regular file")
        _check_size(path, status.st_size, max_bytes)
        return stream.read(status.st_size or max_bytes)  # not max_bytes, for which each read would map memory


@functools.lru_cache
def _resolved(root: str) -> str:
    return os.path.realpath(root)


def _read_remote(uri: str, max_bytes: int) -> bytes:
    try:
        filesystem, path = open_filesystem(uri)
    except AccessError as error:
        raise ImageError(ErrorClass.READ_ERROR, str(error), "AccessError") from error
    except InputError as error:
        raise ImageError(ErrorClass.FORBIDDEN_URI, str(error)) from error
    data = b""
    with filesystem.open_input_stream(path) as stream:  # one request, where a file to seek in costs several
        while len(data) <= max_bytes and (piece := stream.read(PIECE_BYTES)):
            data += piece
    _check_size(uri, len(data), max_bytes)
    return data


def _check_size(uri: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ImageError(ErrorClass.TOO_LARGE_BYTES, f"{uri} has {size} bytes, more than the {max_bytes} that are read")

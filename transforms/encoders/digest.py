"""Digests of weights: the same content has the same digest wherever it lies."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.errors import EncoderError

_SAVED_MODEL_PARTS = ("saved_model.pb", "tfhub_module.pb", "variables", "assets")


def file_digest(path: pathlib.Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"{path} cannot be read: {error.strerror or error}") from error


def saved_model_files(directory: pathlib.Path) -> list[pathlib.Path]:
    """Lists the files of a SavedModel that its outputs depend on, sorted by their relative names."""
    files: list[pathlib.Path] = []
    for part in _SAVED_MODEL_PARTS:
        path = directory / part
        if path.is_dir():
            files.extend(file for file in path.rglob("*") if not file.is_dir())
        elif path.exists():
            files.append(path)
    return sorted(files, key=lambda file: file.relative_to(directory).as_posix())


def directory_digest(directory: pathlib.Path) -> str:
    """SHA-256 over the names and contents of a SavedModel's files.

    Modification times, the directory's own place and files that loading ignores do not count.
    """
    total = hashlib.sha256()
    for path in saved_model_files(directory):
        total.update(f"{path.relative_to(directory).as_posix()}\0{file_digest(path)}\n".encode())
    return total.hexdigest()


def values_digest(name: str, values: Iterable[npt.NDArray[Any]]) -> str:
    """SHA-256 over an architecture's name and its weights in order: shapes, types and bytes."""
    total = hashlib.sha256(f"{name}\n".encode())
    for array in values:
        total.update(f"{array.dtype.str}{array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def require_digest(source: str, found: str, expected: str | None) -> None:
    """Raises EncoderError when weights are not those that a specification was made with."""
    if expected is not None and found != expected:
        raise EncoderError(
            f"the weights behind {source} have changed (digest {found[:16]}…, expected {expected[:16]}…);"
            " bring the old ones back, or embed again into a table of their own"
        )

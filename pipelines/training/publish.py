"""Publishes a version of a model: written beside its place, then put there by one rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from pyarrow import fs

from transforms.errors import InputError, ModelError, PlaceError
from transforms.files import filesystem
from transforms.model.aliases import ALIASES, split_alias
from transforms.model.directory import ModelDirectory, is_version, versions

_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
_STAGING = re.compile(r"\.[0-9a-f]{32}\.tmp")
STALE_SECONDS = 3600
"""Without a change for so long, a directory is nobody's any more."""
_VERSION_MARKS = ("model.json", "saved_model.pb")


def check_target(model: str) -> None:
    """Refuses, before any work, a ``--model`` that no version can be written to.

    Raises:
      ModelError: for a file, a version of a model, or a place that cannot be written.
    """
    try:
        system, root = filesystem.open_filesystem(model)
    except InputError as error:
        raise ModelError(f"--model {error}") from error
    if system.get_file_info(root).type == fs.FileType.File:
        raise ModelError(f"--model {model} is a file; name a directory, versions are made in it")
    for mark in _VERSION_MARKS:
        if system.get_file_info(f"{root}/{mark}").type == fs.FileType.File:
            raise ModelError(f"--model {model} is one version of a model; name the directory that it lies in")
    base, alias = split_alias(model)
    if alias and (versions(base) or system.get_file_info(root).type == fs.FileType.NotFound):
        raise ModelError(f"--model {model} names an alias; train into {base}, then promote what came of it")
    others = [name for name in _children(system, root) if not is_version(name) and name != ALIASES]
    if others:
        raise ModelError(f"--model {model} holds other things ({min(others)} …); name an empty or a new directory")
    if filesystem.is_local(model):
        while not os.path.lexists(root):  # made when there is a model to put into it
            root = os.path.dirname(root)
        if not os.path.isdir(root) or not os.access(root, os.W_OK):
            raise ModelError(f"--model {model} cannot be written ({root}); name another place")


def _children(system: fs.FileSystem, root: str) -> list[str]:
    """Returns the names in a directory, hidden ones left out: an interrupted training may have left one."""
    found = system.get_file_info(fs.FileSelector(root, allow_not_found=True))
    return [info.base_name for info in found if not info.base_name.startswith(".")]


def find_same(model: str, training_digest: str) -> ModelDirectory | None:
    """Returns the newest sound version that equal data and configuration made, if there is one."""
    for version in reversed(versions(model)):
        with contextlib.suppress(ModelError):  # a damaged version is as good as none
            found = ModelDirectory.open(filesystem.join(model, str(version)))
            if found.training_digest == training_digest:
                return found
    return None


@contextlib.contextmanager
def telling_of_published(model: str, training_digest: str) -> Iterator[None]:
    """Has Ctrl-C say so when the block had published its version before.

    Raises:
      KeyboardInterrupt: on Ctrl-C, with the version's address if it is there.
    """
    try:
        yield
    except KeyboardInterrupt:
        if (found := find_same(model, training_digest)) is None:
            raise
        raise KeyboardInterrupt(f"interrupted after {found.path} was published") from None


def publish(model: str, fill: Callable[[str], None], seal: Callable[[str, int], None]) -> int:
    """Makes the next version; a reader sees all of it or nothing.

    An object store has no rename: a number belongs to who creates the first of its files, ``model.json`` is uploaded
    last, and without it there is no version.

    Args:
      model: MODEL.
      fill: writes the files into a directory, once.
      seal: adds what depends on the version's number; called again when another training took the number.

    Returns:
      The version.

    Raises:
      ModelError: the place cannot be written.
    """
    with _refused(model), _staging(model) as directory:
        fill(directory)
        while True:
            version = _first_free(model)
            seal(directory, version)
            if _move(directory, model, version):
                return version


def _first_free(model: str) -> int:
    """Returns the number after the last that is taken, by a version or by one that is being uploaded."""
    return max((int(name) for name in _children(*filesystem.open_filesystem(model)) if is_version(name)), default=0) + 1


def write_json(path: str, fields: Any) -> None:
    """Writes JSON for people and programs: indented, a line break at the end."""
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(fields, indent=2, ensure_ascii=False) + "\n")


def file_sizes(directory: str) -> dict[str, int]:
    """Returns the size in bytes of each file below ``directory``, by its relative path, sorted."""
    found = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, directory).replace(os.sep, "/")] = os.path.getsize(path)
    return dict(sorted(found.items()))


@contextlib.contextmanager
def _staging(model: str) -> Iterator[str]:
    """A directory to write into, gone at the end; on a disk it lies beside its goal, for the rename."""
    if not filesystem.is_local(model):
        with tempfile.TemporaryDirectory() as directory:
            yield directory
        return
    root = filesystem.local_path(model)
    directory = os.path.join(root, f".{uuid.uuid4().hex}.tmp")  # no number: no reader takes it for a version
    os.makedirs(directory)
    _sweep(root)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _sweep(root: str) -> None:
    """Removes what trainings that were killed have left; one that still writes has changed its files lately."""
    for name in filter(_STAGING.fullmatch, os.listdir(root)):
        path = os.path.join(root, name)
        with contextlib.suppress(OSError):  # its own training has moved it meanwhile
            newest = max(
                os.path.getmtime(place) for place in (path, *(os.path.join(path, f) for f in file_sizes(path)))
            )
            if newest < time.time() - STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _move(directory: str, model: str, version: int) -> bool:
    """Returns whether the version is there now; False when another training took its number."""
    if not filesystem.is_local(model):
        return _upload(directory, filesystem.join(model, str(version)))
    for name in file_sizes(directory):
        with open(os.path.join(directory, name), "rb") as stream:
            os.fsync(stream.fileno())
    try:
        os.rename(directory, os.path.join(filesystem.local_path(model), str(version)))
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _upload(directory: str, address: str) -> bool:
    system, root = filesystem.open_filesystem(address)
    names = sorted(file_sizes(directory), key=lambda name: (name == "model.json", name))
    for name in names:
        with open(os.path.join(directory, name), "rb") as source:
            data = source.read()
        if name != names[0]:
            filesystem.write_atomically(system, f"{root}/{name}", data)
        elif not filesystem.create(filesystem.join(address, name), data):
            return False
    return True


@contextlib.contextmanager
def _refused(model: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        place = PlaceError.of(f"--model {model} cannot be written: {reason}")
        raise place or ModelError(f"--model {model} cannot be written ({reason}); name another place") from error

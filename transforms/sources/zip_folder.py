"""A zip file as a folder: a directory per label, optionally below a directory per split."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from transforms.errors import ErrorClass, ImageError
from transforms.sources.container import DEFAULT_CONTAINER_LIMITS, ContainerLimits, MemberList, open_binary
from transforms.sources.folder import IMAGE_SUFFIXES, SPLIT_NAMES
from transforms.sources.reference import ImageReference
from transforms.sources.zip_format import ZipEntry, zip_entries

MAC_DIRECTORY = "__MACOSX"


def list_zip(uri: str, limits: ContainerLimits = DEFAULT_CONTAINER_LIMITS) -> Iterator[ImageReference]:
    """Lists the images of a zip file from its directory; no member is inflated.

    A single directory that holds all others, as many tools write it, is no label.
    """
    members = MemberList(uri, "zip")
    stream, size = open_binary(uri)
    with stream:
        wrapper, splits = _layout(_until_fault(zip_entries(stream, size, limits)))
        try:
            for entry in zip_entries(stream, size, limits):
                if _is_image(entry.name):
                    labels, split = _label_and_split(entry.name, wrapper, splits)
                    yield members.reference(entry.name, entry.offset, entry.compressed, labels=labels, split=split)
        except ImageError as error:
            yield members.rest(error)
        except OSError as error:
            yield members.rest(ImageError(ErrorClass.READ_ERROR, str(error), type(error).__name__))


def _until_fault(entries: Iterable[ZipEntry]) -> Iterator[ZipEntry]:
    try:
        yield from entries
    except (ImageError, OSError):
        return


def _layout(entries: Iterable[ZipEntry]) -> tuple[str, bool]:
    """Returns the directory that holds all others, if one does, and whether those are named like splits."""
    tops: dict[str, None] = {}
    seconds: dict[str, None] = {}
    deep = True
    for entry in entries:
        if not _is_image(entry.name):
            continue
        directories = _directories(entry.name)
        tops[directories[0] if directories else ""] = None
        deep = deep and len(directories) > 1
        if len(tops) == 1:
            seconds[directories[1] if len(directories) > 1 else ""] = None
    wrapper = next(iter(tops)) if len(tops) == 1 and deep and not _all_splits(tops) else ""
    return wrapper, _all_splits(seconds if wrapper else tops)


def _all_splits(names: Iterable[str]) -> bool:
    found = [name.lower() in SPLIT_NAMES for name in names if name]
    return bool(found) and all(found)


def _label_and_split(name: str, wrapper: str, splits: bool) -> tuple[tuple[str, ...], str]:
    directories = _directories(name)
    if wrapper:
        directories.pop(0)
    split = SPLIT_NAMES[directories.pop(0).lower()] if splits and directories else ""
    return tuple(directories[:1]), split


def _directories(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/")[:-1] if part not in ("", ".")]


def _is_image(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    hidden = any((part.startswith(".") and part not in (".", "..")) or part == MAC_DIRECTORY for part in parts)
    return not hidden and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES

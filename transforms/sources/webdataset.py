"""Tar files: WebDataset, in which files that share the part before the first dot are one sample, or folders."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from transforms.errors import ErrorClass, ImageError
from transforms.sources.columns import Columns
from transforms.sources.container import DEFAULT_CONTAINER_LIMITS, ContainerLimits, ContainerStream, MemberList
from transforms.sources.folder import IMAGE_SUFFIXES
from transforms.sources.folder_layout import FolderLayout, is_image_name
from transforms.sources.manifest import metadata_of
from transforms.sources.reference import ImageReference
from transforms.sources.tar import TarEntry, tar_entries

LABEL_KEYS = ("labels", "label", "cls", "class", "class_name")
"""Keys of a sample's JSON that hold its label, unless ``--label-column`` names one."""
TEXT_EXTENSIONS = ("cls", "txt", "json")
_MAX_LABEL = 200
_MAX_IMAGES = 1000


def list_webdataset(
    uri: str, columns: Columns | None = None, limits: ContainerLimits = DEFAULT_CONTAINER_LIMITS
) -> Iterator[ImageReference]:
    """Lists the images of a tar file, plain or gzip; only headers and small texts are read.

    Where no image has a text beside it, directories are labels and splits as in a folder; to tell that, the headers
    are read once more.
    """
    layout = functools.cache(lambda: _folder_layout(uri, limits))
    with ContainerStream(uri, limits) as stream:
        members = MemberList(uri, "webdataset", stream.sequential)
        sample = _Sample("")
        fault = None
        try:
            for entry in tar_entries(stream, limits):
                key, extension = _key(entry.name)
                if _hidden(entry.name):
                    continue
                if key != sample.key or sample.full:
                    yield from sample.references(members, columns or Columns(), layout)
                    sample = _Sample(key)
                sample.add(entry, extension, stream, limits)
        except ImageError as error:
            fault = error
        yield from sample.references(members, columns or Columns(), layout)
        if fault is not None:
            yield members.rest(fault)


class _Sample:
    """The files of one sample, as they come."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._images: list[tuple[TarEntry, bool]] = []
        self._texts: dict[str, bytes] = {}

    @property
    def full(self) -> bool:
        """Whether so many images have the same key that they are no sample."""
        return len(self._images) >= _MAX_IMAGES

    def add(self, entry: TarEntry, extension: str, stream: ContainerStream, limits: ContainerLimits) -> None:
        """Takes a file; reads it when it is a small text."""
        if os.path.splitext("x." + extension)[1] in IMAGE_SUFFIXES:
            if stream.size is not None and entry.offset + entry.size > stream.size:
                return  # cut: what is left becomes the one entry behind the fault
            if stream.sequential:
                stream.skip(entry.size)  # a cut shows here, before the image is listed
            self._images.append((entry, "." not in extension))
        elif extension in TEXT_EXTENSIONS and entry.size <= limits.max_text_bytes:
            self._texts[extension] = stream.read(entry.size)

    def references(
        self, members: MemberList, columns: Columns, layout: Callable[[], FolderLayout | None]
    ) -> Iterator[ImageReference]:
        """Yields the sample's images; in a WebDataset ``x.seg.png`` is none when there is an ``x.jpg``."""
        in_folder = self._images and not self._texts and "/" in self.key.removeprefix("./")
        if in_folder and (folders := layout()) is not None:
            for entry, _ in self._images:
                yield members.reference(entry.name, entry.offset, entry.size, **folders.fields(entry.name))
            return
        whole = [entry for entry, simple in self._images if simple] or [entry for entry, _ in self._images]
        if not whole:
            return
        try:
            fields, problem = metadata_of(_metadata(self._texts, columns), columns), ""
        except UnicodeError:
            fields, problem = {}, "the sample's label or attributes are not UTF-8"
        except (ValueError, RecursionError) as error:
            fields, problem = {}, f"the sample's label or attributes: {error}"
        for entry in whole:
            reference = members.reference(entry.name, entry.offset, entry.size, **fields)
            bad = problem and not reference.problem
            yield reference.with_problem(ErrorClass.BAD_ROW, problem) if bad else reference


def _folder_layout(uri: str, limits: ContainerLimits) -> FolderLayout | None:
    """Reads the headers for directories; None as soon as a text lies beside an image: that is a WebDataset."""
    samples: list[str] = []

    def names() -> Iterator[str]:
        with ContainerStream(uri, limits) as stream, contextlib.suppress(ImageError):
            for key, entries in itertools.groupby(tar_entries(stream, limits), lambda entry: _key(entry.name)[0]):
                found = [entry.name for entry in entries]
                yield from found
                if any(map(is_image_name, found)) and any(_key(name)[1] in TEXT_EXTENSIONS for name in found):
                    samples.append(key)
                    return

    layout = FolderLayout.of(names())
    return None if samples else layout


def _metadata(texts: dict[str, bytes], columns: Columns) -> dict[str, Any]:
    """Returns label and attributes as a row: from ``.cls``, else ``.json``, else a short ``.txt``."""
    row: dict[str, Any] = {}
    if "json" in texts:
        row = json.loads(texts["json"])
        if not isinstance(row, dict):
            raise ValueError(f"the .json is no object: {texts['json'][:40]!r}")
    names = (columns.label,) if columns.label else LABEL_KEYS
    found = next((row[name] for name in names if row.get(name) not in (None, "")), None)
    row = {name: value for name, value in row.items() if columns.label or name not in LABEL_KEYS}
    if "cls" in texts:
        found = texts["cls"].decode().strip()
    if "txt" in texts:
        text = texts["txt"].decode().strip()
        if found is None and len(text) <= _MAX_LABEL:
            found = text
        else:
            row["txt"] = text
    if found is not None:
        row["labels" if columns.label is None else columns.label] = found
    return row


def _key(name: str) -> tuple[str, str]:
    directory, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{directory}{slash}{stem}", extension.lower()


def _hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")

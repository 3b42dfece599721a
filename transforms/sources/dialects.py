"""The forms that an input may have. A new one is an entry in DIALECTS and a module that lists it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator

from pyarrow import fs

from transforms.errors import InputError
from transforms.files.filesystem import check_uri, is_local, local_path, open_filesystem
from transforms.sources.folder import IMAGE_SUFFIXES, glob_root, is_glob, list_file, list_folder, list_glob
from transforms.sources.manifest import list_manifest
from transforms.sources.reference import ImageReference

MANIFEST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
    """One form of input.

    Attributes:
      title: for people.
      matches: tells the dialect by the address and the file's type (``Directory``, ``File``, ``NotFound``).
      root: the folder below which local images must lie.
      list_images: lists references, lazily, given the address and the root.
    """

    title: str
    matches: Callable[[str, fs.FileType], bool]
    root: Callable[[str], str]
    list_images: Callable[[str, str], Iterator[ImageReference]]


def _parent(uri: str) -> str:
    return os.path.dirname(local_path(uri)) if is_local(uri) else uri.rsplit("/", 1)[0]


def _suffix(uri: str) -> str:
    return os.path.splitext(uri)[1].lower()


DIALECTS: dict[str, Dialect] = {
    "glob": Dialect(
        title="glob",
        matches=lambda uri, _: is_glob(uri),
        root=glob_root,
        list_images=lambda uri, _: list_glob(uri),
    ),
    "folder": Dialect(
        title="folder of images",
        matches=lambda _, kind: kind == fs.FileType.Directory,
        root=lambda uri: uri,
        list_images=lambda uri, _: list_folder(uri),
    ),
    "image": Dialect(
        title="single image",
        matches=lambda uri, kind: kind == fs.FileType.File and _suffix(uri) in IMAGE_SUFFIXES,
        root=_parent,
        list_images=lambda uri, _: list_file(uri),
    ),
    "manifest": Dialect(
        title="manifest",
        matches=lambda uri, kind: kind == fs.FileType.File and _suffix(uri) in MANIFEST_SUFFIXES,
        root=_parent,
        list_images=list_manifest,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """An input whose dialect is known; plain data that travels to a worker.

    Attributes:
      uri: as it was given, made absolute.
      dialect: a key of DIALECTS.
      root: the folder below which local images must lie.
    """

    uri: str
    dialect: str
    root: str

    def list_images(self) -> Iterator[ImageReference]:
        """Lists the references, lazily."""
        return DIALECTS[self.dialect].list_images(self.uri, self.root)


def recognise(uri: str, dialect: str | None = None, input_root: str | None = None) -> Source:
    """Tells what form an input has.

    Args:
      uri: a folder, glob, image or manifest.
      dialect: a key of DIALECTS, to name the form instead.
      input_root: folder below which a manifest's local images lie, by default the manifest's own.

    Raises:
      InputError: when the input does not exist or has no form that is known.
    """
    check_uri(uri)
    if is_local(uri):
        uri = local_path(uri)
    filesystem, path = open_filesystem(glob_root(uri) if is_glob(uri) else uri)
    kind = filesystem.get_file_info(path).type
    if kind == fs.FileType.NotFound:
        raise InputError(f"--input {uri} does not exist{_suggestion(uri)}")
    name = dialect or next((name for name, form in DIALECTS.items() if form.matches(uri, kind)), None)
    if name is None:
        forms = ", ".join(form.title for form in DIALECTS.values())
        raise InputError(f"--input {uri} has no form that is known ({forms}); name it with --input-format")
    if (name == "folder") != (kind == fs.FileType.Directory) and name != "glob":
        raise InputError(f"--input {uri} is {'a directory' if name != 'folder' else 'no directory'}, not a {name}")
    root = input_root if input_root and name == "manifest" else DIALECTS[name].root(uri)
    return Source(uri=uri, dialect=name, root=local_path(root) if is_local(root) else root.rstrip("/"))


def _suggestion(uri: str) -> str:
    """Returns a hint when the parent holds something of nearly the same name."""
    import difflib

    if not is_local(uri) or not os.path.isdir(os.path.dirname(uri)):
        return ""
    close = difflib.get_close_matches(os.path.basename(uri), os.listdir(os.path.dirname(uri)), n=1)
    return f"; did you mean {os.path.join(os.path.dirname(uri), close[0])}?" if close else ""

"""The forms that an input may have. A new one is an entry in DIALECTS and a module that lists it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator

from pyarrow import fs

from transforms.errors import InputError
from transforms.files.filesystem import absolute, check_uri, is_local, join, local_path, open_filesystem
from transforms.sources.columns import Columns
from transforms.sources.fingerprints import with_fingerprints
from transforms.sources.folder import (
    SPLIT_NAMES,
    compile_glob,
    glob_root,
    is_glob,
    list_directory,
    list_file,
    list_folder,
    list_glob,
)
from transforms.sources.hf_parquet import list_hf_parquet
from transforms.sources.labelled_csv import list_flowers_csv, list_vertex_csv
from transforms.sources.manifest import FILE_NAME_COLUMN, list_manifest, split_of
from transforms.sources.recognise import container_form, recognise_file, split_of_name
from transforms.sources.reference import ImageReference
from transforms.sources.tfrecord import list_tfrecord
from transforms.sources.vertex_jsonl import list_vertex_batch, list_vertex_jsonl
from transforms.sources.webdataset import list_webdataset
from transforms.sources.zip_folder import list_zip

METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Files that make a folder an ImageFolder of Hugging Face's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """An input whose dialect is known; plain data that travels to a worker.

    Attributes:
      uri: as it was given, made absolute.
      dialect: a key of DIALECTS.
      root: the folder below which local images must lie.
      columns: what the input calls its columns.
      split: of images whose entry names none.
    """

    uri: str
    dialect: str
    root: str
    columns: Columns = dataclasses.field(default_factory=Columns)
    split: str = ""

    @property
    def scope(self) -> str:
        """What the addresses begin with that this source lists in full: who is known there and not listed is gone.

        A manifest speaks for all below its root. Empty for a glob or a single image, which speak for nothing else.
        """
        if DIALECTS[self.dialect].is_container:
            return f"{self.uri}#"
        return "" if self.dialect in ("glob", "image") else f"{self.root.rstrip('/')}/"

    def list_images(self) -> Iterator[ImageReference]:
        """Lists the references, lazily."""
        references = with_fingerprints(DIALECTS[self.dialect].list_images(self))
        if not self.split:
            return references
        return (one if one.split else one._replace(split=self.split) for one in references)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
    """One form of input.

    Attributes:
      title: for people.
      list_images: lists a source's references, lazily.
      is_container: the images lie in the file itself.
      takes_root: local images may lie below another folder than the input's, which ``--input-root`` names.
    """

    title: str
    list_images: Callable[[Source], Iterator[ImageReference]]
    is_container: bool = False
    takes_root: bool = False


def roots_of(sources: Iterable[Source]) -> tuple[str, ...]:
    """Returns the folders below which the images of sources lie."""
    return tuple(sorted({source.root for source in sources}))


DIALECTS: dict[str, Dialect] = {
    "glob": Dialect(title="glob", list_images=lambda s: list_glob(s.uri)),
    "folder": Dialect(title="folder of images", list_images=lambda s: list_folder(s.uri)),
    "image": Dialect(title="single image", list_images=lambda s: list_file(s.uri)),
    "manifest": Dialect(
        title="manifest", list_images=lambda s: list_manifest(s.uri, s.root, s.columns), takes_root=True
    ),
    "flowers-csv": Dialect(
        title="CSV of address and labels", list_images=lambda s: list_flowers_csv(s.uri, s.root), takes_root=True
    ),
    "vertex-csv": Dialect(
        title="Vertex AI import, CSV", list_images=lambda s: list_vertex_csv(s.uri, s.root), takes_root=True
    ),
    "vertex-jsonl": Dialect(
        title="Vertex AI import, JSONL", list_images=lambda s: list_vertex_jsonl(s.uri, s.root), takes_root=True
    ),
    "vertex-batch": Dialect(
        title="Vertex AI batch prediction, JSONL",
        list_images=lambda s: list_vertex_batch(s.uri, s.root),
        takes_root=True,
    ),
    "imagefolder": Dialect(
        title="Hugging Face ImageFolder",
        list_images=lambda s: list_manifest(s.uri, s.root, s.columns, FILE_NAME_COLUMN),
    ),
    "webdataset": Dialect(
        title="tar: WebDataset or folder", list_images=lambda s: list_webdataset(s.uri, s.columns), is_container=True
    ),
    "tfrecord": Dialect(title="TFRecord", list_images=lambda s: list_tfrecord(s.uri, s.columns), is_container=True),
    "zip": Dialect(title="zip", list_images=lambda s: list_zip(s.uri), is_container=True),
    "hf-parquet": Dialect(
        title="Hugging Face Parquet", list_images=lambda s: list_hf_parquet(s.uri, s.columns), is_container=True
    ),
}


def recognise(
    uri: str, dialect: str | None = None, input_root: str | None = None, columns: Columns | None = None
) -> list[Source]:
    """Tells what form an input has.

    Args:
      uri: a folder, glob, image, manifest or container.
      dialect: a key of DIALECTS, to name the form instead.
      input_root: folder below which a manifest's local images lie, by default the manifest's own.
      columns: what the input calls its columns.

    Returns:
      One source; several for a folder or glob of manifests or containers.

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
    if kind == fs.FileType.Unknown:
        raise InputError(f"--input {uri} is neither a file nor a directory; name one of these")
    given = _Given(dialect, input_root, columns or Columns())
    if is_glob(uri):
        return _recognise_glob(uri, given)
    if kind == fs.FileType.Directory:
        return _recognise_folder(uri, given)
    if dialect == "folder":
        raise InputError(f"--input {uri} is no directory, not a folder")
    return [_recognise_file(uri, given)]


def would_list(uri: str, output: str) -> bool:
    """Returns whether an input would list Parquet, JSON and HTML below ``output``, or be taken for something else then.

    A folder of images takes no such files; but a folder of splits, or of containers only, may hold nothing beside them.
    """
    uri, output = absolute(uri), absolute(output)
    if is_glob(uri):
        matches, suffixes = compile_glob(uri).fullmatch, (".parquet", ".json", ".html")
        return any(matches(f"{output}/{'x/' * depth}x{suffix}") for depth in range(4) for suffix in suffixes)
    if not output.startswith(f"{uri.rstrip('/')}/"):
        return False
    files, directories = list_directory(uri)
    if output[len(uri) :].strip("/").split("/")[0] in directories:
        return False
    if directories:
        return all(name.lower() in SPLIT_NAMES for name in directories)
    return bool(files) and all(map(container_form, files))


@dataclasses.dataclass(frozen=True)
class _Given:
    """What the flags say of every input."""

    dialect: str | None
    input_root: str | None
    columns: Columns


def _recognise_glob(pattern: str, given: _Given) -> list[Source]:
    """The first match tells whether a glob names images, or manifests and containers."""
    if given.dialect in ("glob", "image", "folder"):
        return [_source(pattern, "glob", glob_root(pattern), given)]
    matches = list_glob(pattern)
    first = next(matches, None)
    if first is None or (given.dialect is None and _is_image_file(first.uri, given)):
        return [_source(pattern, "glob", glob_root(pattern), given)]
    return [_recognise_file(match.uri, given) for match in list_glob(pattern)]


def _is_image_file(uri: str, given: _Given) -> bool:
    try:
        return recognise_file(uri, given.columns) in (None, "image")
    except OSError:
        return True


def _recognise_folder(uri: str, given: _Given) -> list[Source]:
    taken = given.dialect in (None, "folder", "imagefolder") or DIALECTS[given.dialect].is_container
    if not taken:
        raise InputError(f"--input {uri} is a directory, not a {given.dialect}")
    files, directories = list_directory(uri)
    if given.dialect in (None, "imagefolder"):
        sources = _imagefolders(uri, files, directories, given)
        if sources:
            return sources
        if given.dialect:
            raise InputError(f"--input {uri} has none of {', '.join(METADATA_FILES)}, so it is no imagefolder")
    containers = given.dialect != "folder" and files and not directories
    if containers and (given.dialect or all(map(container_form, files))):
        return [_recognise_file(join(uri, file), given) for file in files]
    return [_source(uri, "folder", uri, given)]


def _imagefolders(uri: str, files: list[str], directories: list[str], given: _Given) -> list[Source]:
    """Finds the metadata of a folder, or of the directories in it that are named like splits."""
    found = [(join(uri, name), "") for name in METADATA_FILES if name in files][:1]
    if not found and directories and all(name.lower() in SPLIT_NAMES for name in directories):
        for directory in directories:
            inner, _ = list_directory(join(uri, directory))
            names = [join(uri, directory, name) for name in METADATA_FILES if name in inner][:1]
            found += [(name, SPLIT_NAMES[directory.lower()]) for name in names]
    return [_source(file, "imagefolder", _parent(file), given, split) for file, split in found]


def _recognise_file(uri: str, given: _Given) -> Source:
    try:
        name = given.dialect or recognise_file(uri, given.columns)
    except OSError as error:
        raise InputError(f"--input {uri} cannot be read: {error}") from error
    if name is None:
        forms = ", ".join(form.title for form in DIALECTS.values())
        raise InputError(f"--input {uri} has no form that is known ({forms}); name it with --input-format")
    root = given.input_root if given.input_root and DIALECTS[name].takes_root else _parent(uri)
    split = split_of(split_of_name(uri)) if DIALECTS[name].is_container else ""
    return _source(uri, name, root, given, split)


def _source(uri: str, dialect: str, root: str, given: _Given, split: str = "") -> Source:
    place = local_path(root) if is_local(root) else root.rstrip("/")
    return Source(uri=uri, dialect=dialect, root=place, columns=given.columns, split=split)


def _parent(uri: str) -> str:
    return os.path.dirname(local_path(uri)) if is_local(uri) else uri.rsplit("/", 1)[0]


def _suggestion(uri: str) -> str:
    """Returns a hint when the parent holds something of nearly the same name."""
    import difflib

    if not is_local(uri) or not os.path.isdir(os.path.dirname(uri)):
        return ""
    close = difflib.get_close_matches(os.path.basename(uri), os.listdir(os.path.dirname(uri)), n=1)
    return f"; did you mean {os.path.join(os.path.dirname(uri), close[0])}?" if close else ""

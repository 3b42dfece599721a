"""Folders and globs: a directory per label, optionally below a directory per split."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator

from pyarrow import fs

from transforms.errors import ErrorClass, InputError
from transforms.files.filesystem import is_local, local_path, open_filesystem, open_objects, scheme_of
from transforms.sources.reference import ImageReference

IMAGE_SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".apng",
        ".webp",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
    }
    | {".avif", ".heic", ".heif"}
)
"""File names that a folder's listing takes for images; a glob or a manifest takes any name."""

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Spellings of the three splits."""

_MAGIC = re.compile(r"[*?\[]")


def is_glob(uri: str) -> bool:
    """Returns whether ``uri`` has wildcards and is not itself the name of a file."""
    return bool(_MAGIC.search(uri)) and not (is_local(uri) and os.path.lexists(local_path(uri)))


def glob_root(uri: str) -> str:
    """Returns the part of a glob before its first wildcard component."""
    kept = []
    for part in uri.split("/"):
        if _MAGIC.search(part):
            break
        kept.append(part)
    return "/".join(kept) or ("/" if uri.startswith("/") else ".")


def list_folder(root: str) -> Iterator[ImageReference]:
    """Lists the images below a folder, in the order of their names.

    Hidden files and directories, and files whose name is not that of an image, are passed over.
    """
    walk = _walk_local(local_path(root)) if is_local(root) else _walk_remote(root)
    base = local_path(root) if is_local(root) else root.rstrip("/")
    splits = _has_split_directories(base)
    for uri, fingerprint in walk:
        if uri.endswith("/"):
            problem = f"the directory {uri} cannot be listed; make it readable"
            yield _representable(ImageReference(uri)).with_problem(ErrorClass.READ_ERROR, problem)
        elif os.path.splitext(uri)[1].lower() in IMAGE_SUFFIXES:
            yield _reference(uri, fingerprint, base, splits)


def list_glob(pattern: str) -> Iterator[ImageReference]:
    """Lists every file that a glob matches (``**`` crosses directories), in the order of their names."""
    if not is_local(pattern):
        yield from _list_remote_glob(pattern)
        return
    path = local_path(pattern)
    root = glob_root(path)
    splits = _has_split_directories(root)
    for match in sorted(glob.iglob(path, recursive=True)):
        if not os.path.isdir(match):
            yield _reference(match, local_fingerprint(match), root, splits)


def list_file(path: str) -> Iterator[ImageReference]:
    """Lists a single image."""
    path = local_path(path) if is_local(path) else path
    yield ImageReference(uri=path, fingerprint=fingerprint_of(path))


def local_fingerprint(path: str) -> str:
    """Returns size and modification time of a local file, empty when it cannot be looked at."""
    try:
        return _fingerprint(os.stat(path))
    except (OSError, ValueError):
        return ""


def _fingerprint(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def fingerprint_of(uri: str) -> str:
    """Returns a text that another content of the file would not have, empty when it cannot be looked at.

    It is size and modification time of a local file, etag (S3) or generation (Cloud Storage) of an object.
    """
    if is_local(uri):
        return local_fingerprint(local_path(uri))
    client, path = open_objects(uri)
    return client.fingerprint(path)


def _reference(uri: str, fingerprint: str, root: str, splits: bool) -> ImageReference:
    components = uri[len(root) :].strip("/").split("/")[:-1]
    split = ""
    if splits and components:
        split = SPLIT_NAMES.get(components.pop(0).lower(), "")
    reference = ImageReference(uri, fingerprint, tuple(components[:1]), split)
    return _representable(reference)


def _representable(reference: ImageReference) -> ImageReference:
    """Marks an entry whose name is no UTF-8, since no table could hold it."""
    try:
        "".join((reference.uri, *reference.labels)).encode()
    except UnicodeEncodeError:
        shown = reference.uri.encode("utf-8", "backslashreplace").decode()
        return ImageReference(uri=shown).with_problem(
            ErrorClass.BAD_ROW, f"the file name {shown} is not UTF-8; rename the file"
        )
    return reference


def _walk_local(root: str) -> Iterator[tuple[str, str]]:
    """Yields files and fingerprints; a directory below the root that cannot be listed comes itself, without one."""
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as scan:
                names = sorted(entry.name for entry in scan if not entry.name.startswith("."))
        except OSError:
            if directory == root:
                raise
            yield f"{directory}/", ""
            continue
        below = []
        for name in names:
            path = os.path.join(directory, name)
            try:
                status = os.stat(path)
            except (OSError, ValueError):
                yield path, ""
                continue
            if not stat.S_ISDIR(status.st_mode):
                yield path, _fingerprint(status)
            elif not os.path.islink(path):
                below.append(path)
        waiting += reversed(below)


def _walk_remote(root: str) -> Iterator[tuple[str, str]]:
    client, path = open_objects(root)
    prefix = f"{scheme_of(root)}://"
    for entry in client.walk(path):
        if "/." not in entry.path[len(path) :]:
            yield prefix + entry.path, entry.fingerprint


def _list_remote_glob(pattern: str) -> Iterator[ImageReference]:
    root = glob_root(pattern)
    splits = _has_split_directories(root)
    matches = compile_glob(pattern).fullmatch
    for uri, fingerprint in _walk_remote(root):
        if matches(uri):
            yield _reference(uri, fingerprint, root, splits)


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Returns the regular expression of a glob: ``*`` stays in a directory, ``**/`` crosses them."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    return re.compile(
        "".join(
            parts.get(token) or (token.replace("[!", "[^") if token[:1] == "[" else re.escape(token))
            for token in tokens
        )
    )


def _has_split_directories(root: str) -> bool:
    """Returns whether the visible directories below ``root`` are splits.

    Raises:
      InputError: two of them or more are named like splits, and others are not.
    """
    _, names = list_directory(root)
    others = [name for name in names if name.lower() not in SPLIT_NAMES]
    splits = {SPLIT_NAMES[name.lower()] for name in names if name.lower() in SPLIT_NAMES}
    if others and len(splits) > 1:
        raise InputError(
            f"{root} holds splits ({', '.join(sorted(splits))}) and {others[0]!r} beside them; "
            "move what is no split elsewhere, or name the directories one by one"
        )
    return bool(names) and not others


def list_directory(root: str) -> tuple[list[str], list[str]]:
    """Returns the names of the visible files and directories directly in ``root``, sorted."""
    if is_local(root):
        if not os.path.isdir(root):
            return [], []
        with os.scandir(root) as scan:
            entries = [(entry.name, entry.is_dir()) for entry in scan]
    else:
        filesystem, path = open_filesystem(root)
        infos = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        entries = [(info.base_name, info.type == fs.FileType.Directory) for info in infos]
    visible = sorted((name, is_directory) for name, is_directory in entries if not name.startswith("."))
    return [name for name, directory in visible if not directory], [name for name, directory in visible if directory]

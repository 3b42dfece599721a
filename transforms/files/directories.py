"""Cloud Storage as pyarrow has it, and the directories that its listing of one level leaves out."""

from __future__ import annotations

import contextlib
from typing import Any

from pyarrow import fs

from transforms.files import objects


def with_directories(base: fs.GcsFileSystem) -> fs.FileSystem:
    """Returns ``base``, whose listings show directories; streams are those of ``base``."""
    return fs.PyFileSystem(_Handler(base))


class _Handler(fs.FileSystemHandler):
    def __init__(self, base: fs.GcsFileSystem) -> None:
        self._base = base

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handler) and self._base == other._base

    __hash__ = None  # type: ignore[assignment]

    def get_type_name(self) -> str:
        return str(self._base.type_name)

    def normalize_path(self, path: str) -> str:
        return str(self._base.normalize_path(path))

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return list(self._base.get_file_info(paths))

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        if selector.recursive:
            return list(self._base.get_file_info(selector))
        root = selector.base_dir.rstrip("/")
        entries, directories = objects.connect("gs", root.split("/", 1)[0]).children(root)
        if not entries and not directories and not selector.allow_not_found:
            self._check_there(root)
        infos = [fs.FileInfo(one.path, fs.FileType.File, mtime=one.modified, size=one.size) for one in entries]
        return [fs.FileInfo(path, fs.FileType.Directory) for path in directories] + infos

    def _check_there(self, path: str) -> None:
        if self._base.get_file_info(path).type != fs.FileType.Directory:
            raise FileNotFoundError(f"gs://{path} does not exist")

    def create_dir(self, path: str, recursive: bool) -> None:
        self._base.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # it ends with the directory's own object, which need not be
            self._base.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self._base.delete_dir_contents(path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError("all buckets are never emptied")

    def delete_file(self, path: str) -> None:
        self._base.delete_file(path)

    def move(self, src: str, dest: str) -> None:
        self._base.move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        self._base.copy_file(src, dest)

    def open_input_stream(self, path: str) -> Any:
        return self._base.open_input_stream(path)

    def open_input_file(self, path: str) -> Any:
        return self._base.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return self._base.open_output_stream(path, metadata=metadata)

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        return self._base.open_append_stream(path, metadata=metadata)

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import fs

from transforms.errors import InputError
from transforms.files import filesystem


def test_schemes_and_local_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert filesystem.scheme_of("GS://b/x") == "gs"
    assert filesystem.scheme_of("/a:b/c") == ""
    assert filesystem.local_path("a b/../c") == str(tmp_path / "c")
    assert filesystem.local_path("file:///a%20b") == "/a b"
    assert filesystem.is_local("file:///x")
    assert not filesystem.is_local("s3://x")


@pytest.mark.parametrize("uri", ["", "a\nb", "http://x/y", "hdfs://x"])
def test_addresses_that_are_refused(uri: str) -> None:
    with pytest.raises(InputError):
        filesystem.open_filesystem(uri)


def test_join() -> None:
    assert filesystem.join("/", "a") == "/a"
    assert filesystem.join("/x/", "a", "b") == "/x/a/b"
    assert filesystem.join("gs://b", "a") == "gs://b/a"


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "a.json"
    filesystem.write_atomically(fs.LocalFileSystem(), str(path), b"first")

    def fail(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(filesystem.os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        filesystem.write_atomically(fs.LocalFileSystem(), str(path), b"second")
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_gone_is_as_good_as_removed(tmp_path: Path) -> None:
    """A store that loses its answer to the first request gives "not found" to the second."""
    (tmp_path / "marker").write_text("x")
    for _ in range(2):
        filesystem.remove_file(fs.LocalFileSystem(), str(tmp_path / "marker"))
    assert not (tmp_path / "marker").exists()

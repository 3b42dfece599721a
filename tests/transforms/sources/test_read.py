from __future__ import annotations

import os
from pathlib import Path

import pytest

from transforms.errors import ErrorClass, ImageError
from transforms.sources import read
from transforms.sources.read import read_image


def failure(uri: str, root: Path, max_bytes: int = 100) -> ErrorClass:
    with pytest.raises(ImageError) as caught:
        read_image(uri, [str(root)], max_bytes)
    return caught.value.error_class


def test_reads_below_its_root(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_image(str(tmp_path / "a"), ["/elsewhere", str(tmp_path)], 5) == b"12345"


def test_each_failure_has_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "PAUSE_SECONDS", 0.0)
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").write_bytes(b"secret")
    (tmp_path / "root2").write_bytes(b"x")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "large").write_bytes(b"x" * 101)
    (root / "dir").mkdir()
    os.mkfifo(root / "pipe")
    (root / "dangling").symlink_to(root / "nowhere")
    (root / "self").symlink_to(root / "self")
    assert failure(str(root / "none"), root) is ErrorClass.NOT_FOUND
    assert failure(str(root / "dangling"), root) is ErrorClass.NOT_FOUND
    assert failure(str(root / "link"), root) is ErrorClass.FORBIDDEN_URI
    assert failure(str(tmp_path / "root2"), root) is ErrorClass.FORBIDDEN_URI
    assert failure(str(root / ".." / "outside"), root) is ErrorClass.FORBIDDEN_URI
    assert failure(str(root / "large"), root) is ErrorClass.TOO_LARGE_BYTES
    assert failure(str(root / "dir"), root) is ErrorClass.READ_ERROR
    assert failure(str(root / "pipe"), root) is ErrorClass.FORBIDDEN_URI
    assert failure(str(root / "self"), root) is ErrorClass.READ_ERROR
    assert failure("http://localhost/a.jpg", root) is ErrorClass.FORBIDDEN_URI


def test_a_read_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "PAUSE_SECONDS", 0.0)
    attempts = []

    def flaky(uri: str, roots: object, max_bytes: int) -> bytes:
        attempts.append(uri)
        if len(attempts) < 3:
            raise OSError("connection reset")
        return b"there"

    monkeypatch.setattr(read, "_read_local", flaky)
    assert read_image("/a", [], 10) == b"there"
    assert len(attempts) == 3
    monkeypatch.setattr(read, "_read_local", lambda *_: (_ for _ in ()).throw(OSError("disk on fire")))
    with pytest.raises(ImageError, match="read 3 times in vain: disk on fire") as caught:
        read_image("/a", [], 10)
    assert (caught.value.error_class, caught.value.error_type) == (ErrorClass.READ_ERROR, "OSError")

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pipelines.training.publish import check_target, file_sizes, find_same, publish
from tests.transforms.model.builders import linear_head, write_version
from transforms.errors import ModelError, PlaceError


def fill(directory: str) -> None:
    Path(directory, "saved_model.pb").write_bytes(b"graph")
    Path(directory, "variables").mkdir()
    Path(directory, "variables", "data").write_bytes(b"1234567")


def seal(directory: str, version: int) -> None:
    Path(directory, "model.json").write_text(f"version {version}")


def tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_versions_are_numbered_and_nothing_else_is_left(tmp_path: Path) -> None:
    model = tmp_path / "deep" / "model"
    assert [publish(str(model), fill, seal) for _ in range(3)] == [1, 2, 3]
    assert sorted(path.name for path in model.iterdir()) == ["1", "2", "3"]
    assert tree(model / "2") == {"model.json": "version 2", "saved_model.pb": "graph", "variables/data": "1234567"}


def test_a_failure_leaves_no_version_and_no_rubbish(tmp_path: Path) -> None:
    def burn(directory: str, version: int = 0) -> None:
        Path(directory, "half").write_text("")
        raise RuntimeError("the disk caught fire")

    for arguments in ((burn, seal), (fill, burn)):
        with pytest.raises(RuntimeError, match="fire"):
            publish(str(tmp_path / "m"), *arguments)
        assert list((tmp_path / "m").iterdir()) == []


def test_a_reader_never_sees_half_a_version(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def look(directory: str) -> None:
        fill(directory)
        seen.append([path.name for path in tmp_path.iterdir() if path.name.isdigit()])

    publish(str(tmp_path), look, seal)
    assert seen == [[]]


def test_a_number_that_another_took_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    sealed: list[int] = []

    def slow(directory: str, version: int) -> None:
        if not sealed:  # another training publishes between our look and our rename
            publish(str(tmp_path), fill, seal)
        sealed.append(version)
        Path(directory, "model.json").write_text(f"ours, {version}")

    assert publish(str(tmp_path), fill, slow) == 2
    assert sealed == [1, 2]
    assert tree(tmp_path / "1")["model.json"] == "version 1"
    assert tree(tmp_path / "2")["model.json"] == "ours, 2"


def test_many_at_once_get_a_number_each(tmp_path: Path) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(publish(str(tmp_path), fill, seal))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_same_training_is_found_in_any_sound_version(tmp_path: Path) -> None:
    write_version(tmp_path / "1", training_digest="one")
    write_version(tmp_path / "2", training_digest="two")
    write_version(tmp_path / "3", linear_head(temperature=3.0), training_digest="one")
    found = find_same(str(tmp_path), "one")
    assert found is not None
    assert found.version == 3
    (tmp_path / "3" / "head.npz").unlink()
    found = find_same(str(tmp_path), "one")
    assert found is not None
    assert found.version == 1
    assert find_same(str(tmp_path), "three") is None
    assert find_same(str(tmp_path / "nothing"), "one") is None


def test_places_that_cannot_be_a_model_are_refused_before_any_work(tmp_path: Path) -> None:
    check_target(str(tmp_path / "new" / "model"))
    assert list(tmp_path.iterdir()) == [], "nothing is made for a look"
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "model"):
        with pytest.raises(ModelError, match=r"is a file|cannot be written"):
            check_target(str(path))
    write_version(tmp_path / "m" / "1")
    check_target(str(tmp_path / "m"))
    with pytest.raises(ModelError, match="is one version of a model; name the directory that it lies in"):
        check_target(str(tmp_path / "m" / "1"))
    for path in (tmp_path / "m@best", tmp_path / "new@best"):
        with pytest.raises(
            ModelError, match=f"names an alias; train into {str(path).removesuffix('@best')}, then promote"
        ):
            check_target(str(path))
    with pytest.raises(ModelError, match="scheme ftp:// is not read"):
        check_target("ftp://host/m")


def test_a_directory_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root
    with pytest.raises(ModelError, match="cannot be written"):
        check_target(str(tmp_path / "m"))


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def full(directory: str) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(PlaceError, match=r"cannot be written: No space left on device \(make room"):
        publish(str(tmp_path), full, seal)
    assert list(tmp_path.iterdir()) == []


def test_sizes_are_those_of_all_files(tmp_path: Path) -> None:
    fill(str(tmp_path))
    assert file_sizes(str(tmp_path)) == {"saved_model.pb": 5, "variables/data": 7}


def test_what_a_killed_training_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    old, fresh, other = (tmp_path / name for name in (f".{'a' * 32}.tmp", f".{'b' * 32}.tmp", ".mine"))
    for directory in (old, fresh, other):
        (directory / "variables").mkdir(parents=True)
        (directory / "variables" / "data").write_text("x")
    for directory in (old, other):
        for path in (directory / "variables" / "data", directory):
            os.utime(path, (0, 0))
    publish(str(tmp_path), lambda _: None, lambda *_: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([fresh.name, other.name, "1"])

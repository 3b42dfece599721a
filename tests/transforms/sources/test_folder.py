from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.photographs import LABELS, write_folder
from transforms.sources.folder import glob_root, is_glob, list_file, list_folder, list_glob, local_fingerprint


def rows(references: object) -> list[tuple[str, tuple[str, ...], str]]:
    return [(os.path.basename(r.uri), r.labels, r.split) for r in references]  # type: ignore[attr-defined]


def test_a_directory_per_label(tmp_path: Path) -> None:
    write_folder(tmp_path, per_label=2)
    assert rows(list_folder(str(tmp_path))) == [(f"000{n}.jpg", (label,), "") for label in LABELS for n in range(2)]


def test_a_directory_per_split_and_label(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_folder(tmp_path / split, per_label=1)
    assert rows(list_folder(str(tmp_path))) == [
        ("0000.jpg", (label,), split) for split in ("test", "train", "validation") for label in LABELS
    ]


def test_one_directory_that_is_no_split_makes_them_all_labels(tmp_path: Path) -> None:
    for name in ("train", "boat"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    assert rows(list_folder(str(tmp_path))) == [("a.png", ("boat",), ""), ("a.png", ("train",), "")]


def test_images_at_the_top_have_no_label_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("b.JPG", "notes.txt", ".hidden.jpg", "x.csv"):
        (tmp_path / name).touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "c.jpg").touch()
    assert rows(list_folder(str(tmp_path))) == [("b.JPG", (), "")]


def test_deeper_directories_keep_the_first_as_label(tmp_path: Path) -> None:
    (tmp_path / "cat" / "2024").mkdir(parents=True)
    (tmp_path / "cat" / "2024" / "a.jpg").touch()
    assert rows(list_folder(str(tmp_path))) == [("a.jpg", ("cat",), "")]


def test_a_link_to_a_directory_is_not_followed(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", per_label=1)
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    assert len(list(list_folder(str(tmp_path / "photos")))) == 2


def test_a_name_that_is_not_utf8_is_listed_with_its_problem(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with open(os.fsencode(tmp_path) + b"/cat/\xff.jpg", "wb"):
        pass
    (reference,) = list_folder(str(tmp_path))
    assert reference.problem.startswith("BAD_ROW: the file name")
    reference.uri.encode()


def test_glob_takes_every_name_and_labels_by_the_wildcard_directory(tmp_path: Path) -> None:
    write_folder(tmp_path, per_label=1)
    (tmp_path / "disc" / "odd").touch()
    assert rows(list_glob(f"{tmp_path}/*/*")) == [
        ("0000.jpg", ("disc",), ""),
        ("odd", ("disc",), ""),
        ("0000.jpg", ("stripes",), ""),
    ]
    assert rows(list_glob(f"{tmp_path}/disc/*.jpg")) == [("0000.jpg", (), "")]
    assert len(list(list_glob(f"{tmp_path}/**"))) == 3


def test_a_file_whose_name_looks_like_a_glob_is_no_glob(tmp_path: Path) -> None:
    (tmp_path / "a[1].jpg").touch()
    assert not is_glob(f"{tmp_path}/a[1].jpg")
    assert is_glob(f"{tmp_path}/a[2].jpg")


@pytest.mark.parametrize(
    ("pattern", "root"),
    [("/a/b*/c", "/a"), ("a/*", "a"), ("*.jpg", "."), ("/*", "/"), ("gs://b/x/*.jpg", "gs://b/x")],
)
def test_glob_root(pattern: str, root: str) -> None:
    assert glob_root(pattern) == root


def test_fingerprint_is_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1, 17))
    assert local_fingerprint(str(path)) == "5-17"
    assert [r.fingerprint for r in list_file(str(path))] == ["5-17"]
    assert local_fingerprint(str(tmp_path / "none")) == ""


def test_a_directory_that_cannot_be_listed_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, per_label=1)
    scandir = os.scandir

    def locked(path: str) -> object:
        if str(path).endswith("/disc"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    good, bad = sorted(list_folder(str(tmp_path)), key=lambda reference: reference.problem)
    assert good.labels == ("stripes",)
    assert bad.uri == f"{tmp_path}/disc/"
    assert bad.problem.startswith("READ_ERROR: the directory")
    monkeypatch.setattr(os, "scandir", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(PermissionError):
        list(list_folder(str(tmp_path)))

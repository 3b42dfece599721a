from __future__ import annotations

from pathlib import Path

import pytest

from tests.photographs import write_folder
from transforms.errors import InputError
from transforms.sources.dialects import Source, recognise, would_list
from transforms.sources.read import read_image


def one(uri: str, dialect: str | None = None, input_root: str | None = None) -> Source:
    (source,) = recognise(uri, dialect, input_root)
    return source


def test_each_form_is_recognised(tmp_path: Path) -> None:
    write_folder(tmp_path, per_label=1)
    manifest = tmp_path / "m.csv"
    manifest.write_text("uri\ndisc/0000.jpg\n")
    forms = {
        str(tmp_path): "folder",
        f"{tmp_path}/*/*.jpg": "glob",
        f"{tmp_path}/disc/0000.jpg": "image",
        str(manifest): "manifest",
    }
    assert {uri: one(uri).dialect for uri in forms} == forms
    assert [len(list(one(uri).list_images())) for uri in forms] == [2, 2, 1, 1]


def test_images_below_a_link_are_below_their_root(tmp_path: Path) -> None:
    write_folder(tmp_path / "real", per_label=1)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    source = one(str(tmp_path / "link"))
    assert source.root == str(tmp_path / "link")
    for reference in source.list_images():
        assert reference.uri.startswith(f"{source.root}/")
        assert read_image(reference.uri, [source.root], 10**6)


def test_a_manifest_takes_another_root(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("uri\na.jpg\n")
    assert one(str(manifest)).root == str(tmp_path)
    source = one(str(manifest), input_root="/")
    assert source.root == "/"
    assert [r.uri for r in source.list_images()] == ["/a.jpg"]


@pytest.mark.parametrize(
    ("names", "uri", "output", "listed"),
    [
        ("cat/1.jpg dog/2.jpg", "", "store", False),
        ("1.jpg", "", "store", False),
        ("train/cat/1.jpg test/cat/2.jpg", "", "store", True),
        ("train/cat/1.jpg test/cat/2.jpg", "train", "store", False),
        ("train/cat/1.jpg store/x", "", "store", False),
        ("a.tar b.zip", "", "store", True),
        ("a.tar b.zip", "", "../store", False),
        ("cat/1.jpg", "**", "store", True),
        ("cat/1.jpg", "**/*.jpg", "store", False),
        ("cat/1.jpg", "*/*", "predictions", True),
        ("cat/1.jpg", "cat/*", "predictions", False),
    ],
)
def test_an_output_that_the_next_run_would_list(
    tmp_path: Path, names: str, uri: str, output: str, listed: bool
) -> None:
    for name in names.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert would_list(f"{tmp_path}/{uri}".rstrip("/"), f"{tmp_path}/{output}") == listed


def test_what_does_not_exist_is_named_with_what_is_near(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"photo does not exist; did you mean .*photos\?"):
        recognise(str(tmp_path / "photo"))


@pytest.mark.parametrize(
    ("uri", "message"),
    [("ftp://x/y", "scheme ftp:// is not read"), ("", "is no address"), ("a\x00b", "is no address")],
)
def test_addresses_that_are_refused(uri: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recognise(uri)


def test_a_file_of_no_known_form(tmp_path: Path) -> None:
    (tmp_path / "a.docx").touch()
    with pytest.raises(InputError, match="no form that is known"):
        recognise(str(tmp_path / "a.docx"))
    assert one(str(tmp_path / "a.docx"), "image").dialect == "image"
    with pytest.raises(InputError, match="is no directory, not a folder"):
        recognise(str(tmp_path / "a.docx"), "folder")

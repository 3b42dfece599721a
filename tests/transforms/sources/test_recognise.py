from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.image_sets import samples, tfrecord, webdataset, write_files, zip_bytes
from transforms.errors import InputError
from transforms.sources.columns import Columns
from transforms.sources.dialects import recognise

IMAGES = samples(4)


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("uri,label\n", "manifest"),
        ("label,uri\n", "manifest"),
        ('{"uri": "a.jpg"}\n', "manifest"),
        ("path,label\n", "manifest"),
        ("file_name,label\n", "imagefolder"),
        ('{"file_name": "a.jpg"}\n', "imagefolder"),
        ("gs://b/a.jpg,cat\n", "flowers-csv"),
        ("a.jpg\n", "flowers-csv"),
        ("a/b,cat,dog\n", "flowers-csv"),
        ("gs://b/a.jpg,cat\ntraining,gs://b/b.jpg,cat\n", "vertex-csv"),
        ("UNASSIGNED,gs://b/b.jpg\n", "vertex-csv"),
        (",gs://b/b.jpg,cat\n", "vertex-csv"),
        ('{"imageGcsUri": "gs://b/a.jpg"}\n', "vertex-jsonl"),
        ('{"content": "gs://b/a.jpg", "mimeType": "image/jpeg"}\n', "vertex-batch"),
        ("", "manifest"),
    ],
)
def test_manifests_by_their_first_lines(tmp_path: Path, text: str, dialect: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    assert [source.dialect for source in recognise(str(path))] == [dialect]


@pytest.mark.parametrize(
    ("name", "data", "dialect"),
    [
        ("a.jpg", tfrecord(IMAGES), "tfrecord"),
        ("a.csv", webdataset(IMAGES), "webdataset"),
        ("a.tar", zip_bytes([("a/b.jpg", b"x")]), "zip"),
        ("a.csv", IMAGES[0].data, "image"),
        ("a.jpg", b"<html>", "image"),
        ("a.tar", b"broken", "webdataset"),
        ("a.tfrecord-00000-of-00002", b"broken", "tfrecord"),
        ("no-suffix", b"gs://b/a.jpg,cat\n", "flowers-csv"),
    ],
)
def test_content_comes_before_the_name(tmp_path: Path, name: str, data: bytes, dialect: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert [source.dialect for source in recognise(str(tmp_path / name))] == [dialect]


def test_parquet_by_its_schema(tmp_path: Path) -> None:
    found = {}
    for name, column, value in (
        ("manifest", "uri", "a.jpg"),
        ("imagefolder", "file_name", "a.jpg"),
        ("hf-parquet", "photo", {"bytes": b"x", "path": "a"}),
        ("hf-parquet", "image", b"x"),
        ("manifest", "other", "a.jpg"),
    ):
        path = tmp_path / f"{column}.parquet"
        pq.write_table(pa.table({column: [value]}), path)
        found[column] = (recognise(str(path))[0].dialect, name)
    assert all(got == wanted for got, wanted in found.values()), found


def test_a_column_named_by_flag_makes_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file_name,path\na,b.jpg\n")
    (source,) = recognise(str(tmp_path / "m.csv"), columns=Columns(uri="path"))
    assert source.dialect == "manifest"
    assert [reference.uri for reference in source.list_images()] == [f"{tmp_path}/b.jpg"]
    (source,) = recognise(str(tmp_path / "m.csv"), "manifest", columns=Columns(uri="path", label="kind"))
    with pytest.raises(InputError, match="no column 'kind'; its columns are: file_name, path"):
        list(source.list_images())


def test_numbered_shards_carry_their_split(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002.tar", "validation-00000.tar", "test.tar"):
        (tmp_path / name).write_bytes(webdataset([]))
    sources = recognise(str(tmp_path))
    assert [(Path(source.uri).name, source.split) for source in sources] == [
        ("test.tar", ""),
        ("train-00000-of-00002.tar", "train"),
        ("validation-00000.tar", "validation"),
    ]


def test_a_folder_of_images_and_a_container_stays_a_folder(tmp_path: Path) -> None:
    write_files(tmp_path / "photos", IMAGES)
    (tmp_path / "photos" / "all.zip").write_bytes(zip_bytes([("a/b.jpg", b"x")]))
    (source,) = recognise(str(tmp_path / "photos"))
    assert source.dialect == "folder"
    assert len(list(source.list_images())) == 4


@pytest.mark.parametrize(
    ("dialect", "message"), [("manifest", "is a directory, not a manifest"), ("imagefolder", "none of metadata.csv")]
)
def test_a_form_that_a_folder_cannot_have(tmp_path: Path, dialect: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recognise(str(tmp_path), dialect)


def test_vertex_rows(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("training,/b/a.jpg,cat,dog\n/b/b.jpg,cat\ntest,/b/c.jpg\n,/b/d.jpg,\n")
    (source,) = recognise(str(tmp_path / "v.csv"))
    assert [(one.uri, one.labels, one.split) for one in source.list_images()] == [
        ("/b/a.jpg", ("cat", "dog"), "train"),
        ("/b/b.jpg", ("cat",), ""),
        ("/b/c.jpg", (), "test"),
        ("/b/d.jpg", (), ""),
    ]
    (tmp_path / "v.jsonl").write_text(
        '{"imageGcsUri": "/b/a.jpg", "classificationAnnotations": [{"displayName": "cat"}, {"displayName": "dog"}],'
        ' "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": "validation", "camera": "K1"}}\n'
        '{"imageGcsUri": "/b/b.jpg", "classificationAnnotation": "cat"}\n'
        '{"imageGcsUri": "/b/c.jpg", "dataItemResourceLabels": [1]}\n{"content": "x"}\n'
    )
    (source,) = recognise(str(tmp_path / "v.jsonl"))
    first, *bad = source.list_images()
    assert (first.labels, first.split, first.attributes) == (("cat", "dog"), "validation", (("camera", "K1"),))
    assert [one.problem.partition(":")[0] for one in bad] == ["BAD_ROW"] * 3
    with pytest.raises(InputError, match="no column 'content'"):
        list(recognise(str(tmp_path / "v.jsonl"), "vertex-batch")[0].list_images())


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["cat/a.jpg", "dog/b.jpg"], ["cat", "dog"]),
        (["photos/cat/a.jpg", "photos/dog/b.jpg"], ["cat", "dog"]),
        (["cat/a.jpg", "cat/b.jpg"], ["cat", "cat"]),
        (["photos/train/cat/a.jpg", "photos/test/dog/b.jpg"], ["train cat", "test dog"]),
        (["train/cat/a.jpg", "val/dog/b.jpg"], ["train cat", "validation dog"]),
        (["train/cat/a.jpg", "extra/b.jpg"], ["train", "extra"]),
    ],
)
def test_directories_of_a_zip(tmp_path: Path, names: list[str], labels: list[str]) -> None:
    (tmp_path / "a.zip").write_bytes(zip_bytes((name, b"x") for name in names))
    (source,) = recognise(str(tmp_path / "a.zip"))
    assert [" ".join(filter(None, (one.split, *one.labels))) for one in source.list_images()] == labels


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="neither a file nor a directory"):
        recognise(str(tmp_path / "pipe"))

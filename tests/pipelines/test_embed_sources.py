"""The same images in every dialect and container, through the whole command: the rows are equal but for the uri."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import embed
from tests.image_sets import (
    FORMS,
    record,
    samples,
    sha256,
    tfrecord,
    webdataset,
    write_files,
    write_hf_parquet,
    zip_bytes,
)

IMAGES = samples(24)
OF_THE_URI = ["image_id", "image_uri", "event_timestamp", "created", "run_id", "source_fingerprint"]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert embed.main([*map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["listed"] == found["embedded"] + found["reused"] + found["failed"]
    return found


def rows(store: Path) -> pa.Table:
    tables = [pq.read_table(path, partitioning=None) for path in sorted(store.glob("*/data/*.parquet"))]
    return pa.concat_tables(tables)


def dead_letters(store: Path) -> list[tuple[str, str]]:
    files = sorted(store.glob("*/_dead_letters/*/*.parquet"))
    found = [row for path in files for row in pq.read_table(path).to_pylist()]
    return sorted((row["image_uri"].rpartition("/")[2], row["error_class"]) for row in found)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    root = tmp_path_factory.mktemp("expected")
    write_files(root / "photos", IMAGES)
    assert embed.main(["--input", str(root / "photos"), "--store", str(root / "store")]) == 0
    return rows(root / "store").sort_by("sha256")


@pytest.mark.parametrize("name", [name for name in FORMS if name != "folder"])
def test_rows_are_equal_but_for_the_uri(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], expected: pa.Table, name: str
) -> None:
    _, write = FORMS[name]
    (tmp_path / "in").mkdir()
    source = write(tmp_path / "in", IMAGES)
    record = run(capsys, "--input", source, "--store", tmp_path / "store", "--shard-size", 10)
    assert (record["embedded"], record["failed"]) == (24, 0)
    found = rows(tmp_path / "store").sort_by("sha256")
    apart = [*OF_THE_URI, "embedding"]
    assert found.drop_columns(apart).to_pylist() == expected.drop_columns(apart).to_pylist()
    vectors = [np.stack(table["embedding"].to_numpy(zero_copy_only=False)) for table in (found, expected)]
    np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-4)
    if name in ("webdataset gzip", "tfrecord", "zip", "hf-parquet"):
        assert run(capsys, "--input", source, "--store", tmp_path / "store")["reused"] == 24


def test_several_inputs_of_different_forms_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path / "folder", IMAGES[:6])
    (tmp_path / "a.tar").write_bytes(webdataset(IMAGES[6:12]))
    (tmp_path / "a.tfrecord").write_bytes(tfrecord(IMAGES[12:18]))
    write_hf_parquet(tmp_path / "a.parquet", IMAGES[18:])
    names = ("folder", "a.tar", "a.tfrecord", "a.parquet")
    inputs = [part for name in names for part in ("--input", tmp_path / name)]
    assert embed.main([*map(str, inputs), "--store", str(tmp_path / "store")]) == 0
    said = capsys.readouterr().err.splitlines()
    titles = ("folder of images", "WebDataset tar", "TFRecord", "Hugging Face Parquet")
    assert said[:4] == [f"input: {tmp_path / name} ({title})" for name, title in zip(names, titles, strict=True)]
    assert sorted(rows(tmp_path / "store")["sha256"].to_pylist()) == sorted(sha256(image.data) for image in IMAGES)


def test_a_bad_member_costs_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [(image.path, image.data) for image in IMAGES[:4]]
    (tmp_path / "a.zip").write_bytes(zip_bytes([*good, ("train/disc/page.jpg", b"<html>"), ("../up.jpg", b"x")]))
    whole = tfrecord(IMAGES[4:8])
    (tmp_path / "a.tfrecord").write_bytes(whole + record(b"no example") + tfrecord(IMAGES[8:9])[:-100])
    inputs = ["--input", tmp_path / "a.zip", "--input", tmp_path / "a.tfrecord"]
    found = run(capsys, *inputs, "--store", tmp_path / "store", "--max-failures", 4)
    assert (found["listed"], found["embedded"], found["failed"]) == (12, 8, 4)
    assert dead_letters(tmp_path / "store") == [
        ("a.tfrecord#", "TRUNCATED"),
        ("a.tfrecord#4", "BAD_ROW"),
        ("page.jpg", "UNSUPPORTED_FORMAT"),
        ("up.jpg", "FORBIDDEN_URI"),
    ]


def test_columns_are_mapped_by_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path, IMAGES[:4])
    lines = [f"{image.path};cat,{image.label};{image.split};p{n // 2}" for n, image in enumerate(IMAGES[:4])]
    (tmp_path / "m.csv").write_text("\n".join(["path;kinds;fold;patient", *lines]))
    flags = ["--uri-column", "path", "--label-column", "kinds", "--label-separator", ",", "--split-column", "fold"]
    run(capsys, "--input", tmp_path / "m.csv", *flags, "--group-column", "patient", "--store", tmp_path / "store")
    found = {row["sha256"]: row for row in rows(tmp_path / "store").to_pylist()}
    assert sorted(row["group"] for row in found.values()) == ["p0", "p0", "p1", "p1"]
    assert sorted(row["labels"] for row in found.values()) == sorted(["cat", image.label] for image in IMAGES[:4])
    assert sorted(row["split"] for row in found.values()) == sorted(image.split for image in IMAGES[:4])

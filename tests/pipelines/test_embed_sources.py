"""Several inputs at once, bad members and mapped columns, through the whole command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import embed
from tests.image_sets import (
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


def test_several_inputs_of_different_forms_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path / "folder", IMAGES[:6])
    (tmp_path / "a.tar").write_bytes(webdataset(IMAGES[6:12]))
    (tmp_path / "a.tfrecord").write_bytes(tfrecord(IMAGES[12:18]))
    write_hf_parquet(tmp_path / "a.parquet", IMAGES[18:])
    names = ("folder", "a.tar", "a.tfrecord", "a.parquet")
    inputs = [part for name in names for part in ("--input", tmp_path / name)]
    assert embed.main([*map(str, inputs), "--store", str(tmp_path / "store")]) == 0
    said = capsys.readouterr().err.splitlines()
    titles = ("folder of images", "tar: WebDataset or folder", "TFRecord", "Hugging Face Parquet")
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

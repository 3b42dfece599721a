from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from tests.transforms.store import builders
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import StoreError
from transforms.store.catalog import check_store, list_tables, open_table, table_path
from transforms.store.table import FeatureTable

FIRST = builders.specification()
SECOND = dataclasses.replace(FIRST, precision="bfloat16")
OTHER = builders.specification(name="efficientnet-lite0", weights="1" * 64)


def make(store: Path, *specifications: EncoderSpecification) -> None:
    for each in specifications:
        FeatureTable.create(table_path(str(store), each), each, builders.GOLDEN)


def test_tables_lie_side_by_side(tmp_path: Path) -> None:
    make(tmp_path, FIRST, OTHER)
    (tmp_path / "notes.txt").write_text("x")
    tables = list_tables(str(tmp_path))
    assert [table.name for table in tables] == sorted([FIRST.table_name, OTHER.table_name])
    assert tables[0].path == str(tmp_path / OTHER.table_name)


@pytest.mark.parametrize("name", [OTHER.fingerprint, OTHER.fingerprint[:8], OTHER.table_name, OTHER.name])
def test_a_table_is_opened_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    make(tmp_path, FIRST, SECOND, OTHER)
    assert open_table(str(tmp_path), name).specification == OTHER
    assert open_table(str(tmp_path), name, 0).version == 0


def test_the_only_table_needs_no_name(tmp_path: Path) -> None:
    make(tmp_path, FIRST)
    assert open_table(str(tmp_path)).specification == FIRST


def refused(store: Path, *arguments: str) -> str:
    with pytest.raises(StoreError) as caught:
        open_table(str(store), *arguments)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_what_is_no_store_is_said_in_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert re.search(r"missing does not exist; make one with `heliograph embed", refused(missing))
    assert not missing.exists()
    (tmp_path / "empty").mkdir()
    assert re.search(r"empty is empty; make one with `heliograph embed", refused(tmp_path / "empty"))
    (tmp_path / "file").write_text("x")
    assert "file is a file; name a directory" in refused(tmp_path / "file")
    holiday = tmp_path / "holiday"
    (holiday / "cats").mkdir(parents=True)
    for number in range(6):
        (holiday / f"{number}.jpg").write_text("x")
    assert "is no store, it holds 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 2 more" in refused(holiday)


def test_a_table_that_does_not_fit_names_those_there_are(tmp_path: Path) -> None:
    make(tmp_path, FIRST, SECOND)
    both = ", ".join(sorted([FIRST.table_name, SECOND.table_name]))
    assert f"has several tables, name one (train: --encoder-table NAME): {both}" in refused(tmp_path)
    assert f"'tiny' means several tables of {tmp_path}: {both}" in refused(tmp_path, "tiny")
    assert f"has no table of '{OTHER.fingerprint}', it has {both}" in refused(tmp_path, OTHER.fingerprint)
    misleading = FIRST.fingerprint[:8] + "00000000"
    assert "has no table of" in refused(tmp_path, misleading)
    assert "is one table of a store; name the store" in refused(tmp_path / FIRST.table_name)


def test_a_store_that_was_only_begun(tmp_path: Path) -> None:
    (tmp_path / FIRST.table_name / "data").mkdir(parents=True)
    check_store(str(tmp_path))
    assert "has no finished table" in refused(tmp_path)
    make(tmp_path, FIRST)
    assert open_table(str(tmp_path)).specification == FIRST


def test_where_a_store_can_be_made(tmp_path: Path) -> None:
    make(tmp_path / "store", FIRST)
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty", "store"):
        check_store(str(tmp_path / name))
    (tmp_path / "file").write_text("x")
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "a.jpg").write_text("x")
    for name, message in (
        ("file", "is a file"),
        ("holiday", "is no store, it holds a.jpg; name an empty or a new directory"),
        (f"store/{FIRST.table_name}", "is one table of a store"),
    ):
        with pytest.raises(StoreError, match=message):
            check_store(str(tmp_path / name))

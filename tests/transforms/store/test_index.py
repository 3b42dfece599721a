from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.transforms.store import builders
from transforms.errors import StoreError
from transforms.files import runs
from transforms.store import index as index_module
from transforms.store.index import ContentIndex
from transforms.store.table import FeatureTable


@pytest.fixture
def table(tmp_path: Path) -> FeatureTable:
    made = builders.make_table(tmp_path)
    made.append("a", [builders.write_part(made, range(2500)), builders.write_part(made, range(2500, 2600), views=3)])
    return FeatureTable.open(made.path)


def test_known_content_is_found_exactly(table: FeatureTable) -> None:
    index = ContentIndex(table)
    assert len(index) == 2600
    assert index.nbytes <= 40 * len(index)
    wanted = [2500, 3, 2499, 0, 1024, 2599, 3]
    absent = [builders.content(9999), "", "zz", "ab"]
    found = index.find([builders.content(number) for number in wanted] + absent)
    assert all(index.knows(builders.content(number)) for number in wanted)
    assert not any(map(index.knows, absent))
    assert set(found) == {builders.content(number) for number in wanted}
    for number in wanted:
        vector = found[builders.content(number)]
        assert vector.dtype == np.float32
        np.testing.assert_array_equal(vector, builders.vector(number))


def test_a_large_table_is_indexed_in_files(
    table: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "ROWS_IN_MEMORY", 2599)
    monkeypatch.setattr(index_module, "RUN_ROWS", 300)
    monkeypatch.setattr(runs, "GROUP_ROWS", 16)
    monkeypatch.setattr(runs, "RANGE_ROWS", 200)
    index = index_module.open_index(table, str(tmp_path / "contents"))
    assert isinstance(index, index_module.SortedContentIndex)
    assert len(index) == 2600
    looked_up = Mock(side_effect=index_module.read_range)
    monkeypatch.setattr(index_module, "read_range", looked_up)
    wanted = [builders.content(number) for number in range(0, 2600, 7)]
    absent = [builders.content(9999), "0" * 64, "f" * 64, "", "zz", "ab"]
    in_memory = ContentIndex(table)
    assert index.locate([*wanted, *absent]) == in_memory.locate(wanted)
    found, expected = index.find([*wanted, *absent]), in_memory.find(wanted)
    assert all(map(index.knows, wanted))
    assert not any(map(index.knows, absent))
    assert found.keys() == expected.keys() == set(wanted)
    assert looked_up.call_count == len(wanted) + 3, "a digest is looked up once, however often it is asked for"
    for digest, vector in expected.items():
        np.testing.assert_array_equal(found[digest], vector)


def test_only_row_groups_that_hold_a_wanted_row_are_read(table: FeatureTable, monkeypatch: pytest.MonkeyPatch) -> None:
    index = ContentIndex(table)
    read: list[int] = []
    real = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, group: int, **options: object) -> object:
        read.append(group)
        return real(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    assert len(index.find([builders.content(number) for number in (1030, 1024, 2047)])) == 3
    assert read == [1]
    assert index.find(["00" * 32]) == {}
    assert read == [1]


def test_the_same_content_under_two_names_is_found_once(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    batch = builders.columns([1, 2])
    batch["sha256"] = [builders.content(1)] * 2
    batch["embedding"] = np.stack([builders.vector(1)] * 2)
    table.append("a", [builders.write_columns(table, batch)])
    found = ContentIndex(FeatureTable.open(table.path)).find([builders.content(1)])
    np.testing.assert_array_equal(found[builders.content(1)], builders.vector(1))


def test_digests_that_share_their_beginning_are_told_apart(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    batch = builders.columns(range(4))
    digests = ["aa" * 8 + tail for tail in ("00" * 24, "ff" * 24, "0f" * 24, "f0" * 24)]
    batch["sha256"] = digests
    table.append("a", [builders.write_columns(table, batch)])
    index = ContentIndex(FeatureTable.open(table.path))
    found = index.find(digests)
    for number, digest in enumerate(digests):
        np.testing.assert_array_equal(found[digest], builders.vector(number))
    assert index.find(["aa" * 8 + "00" * 8 + "11" * 16]) == {}, "the second half is compared as well"


def test_an_empty_table_knows_nothing(tmp_path: Path) -> None:
    index = ContentIndex(builders.make_table(tmp_path))
    assert len(index) == 0
    assert index.find([builders.content(1)]) == {}


def test_files_that_others_rewrote_are_indexed(table: FeatureTable) -> None:
    DeltaTable(table.path).delete(f"image_id = '{builders.image_id(7)}'")
    index = ContentIndex(FeatureTable.open(table.path))
    found = index.find([builders.content(7), builders.content(8)])
    assert set(found) == {builders.content(8)}
    np.testing.assert_array_equal(found[builders.content(8)], builders.vector(8))


def test_a_missing_file_is_named(table: FeatureTable) -> None:
    path = Path(table.data_files()[0].uri)
    path.unlink()
    with pytest.raises(StoreError, match=f"{path.name} is missing"):
        ContentIndex(table)

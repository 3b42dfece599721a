from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.transforms.store import builders
from transforms.store import supersede
from transforms.store.commit import Committed
from transforms.store.read import read_features
from transforms.store.table import FeatureTable


def ids(*numbers: int) -> list[str]:
    return [builders.image_id(number) for number in numbers]


def test_changed_images_are_replaced_in_one_version(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    first = [builders.write_part(table, range(6)), builders.write_part(table, range(6, 10))]
    table.append("one", first)
    part = builders.write_part(table, [2, 7, 20], generation=1)
    committed = table.append("two", [part], ids(2, 7), base_version=1)
    assert committed == Committed(2, 3, already=False)
    assert builders.contents(table.path, 1) == builders.expected(range(10))
    assert builders.contents(table.path) == builders.expected(range(10)) | builders.expected([2, 7, 20], 1)
    features = read_features(FeatureTable.open(table.path))
    order = {image_id: row for row, image_id in enumerate(features.image_ids)}
    for number in (0, 2, 6, 7, 20):
        vector = builders.vector(number, 1 if number in (2, 7, 20) else 0)
        np.testing.assert_array_equal(features.embeddings[order[builders.image_id(number)]], vector)


def test_a_rewritten_file_is_like_any_other(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    part = builders.write_part(table, range(6), views=3)
    table.append("one", [part])
    table.append("two", [], ids(2, 4))
    (file,) = FeatureTable.open(table.path).data_files()
    assert file.path != part.path
    assert file.rows == 12
    old, new = pq.read_table(Path(table.path, part.path)), pq.read_table(file.uri)
    gone = pc.is_in(old.column("image_id"), value_set=pa.array(ids(2, 4)))
    assert new.equals(old.filter(pc.invert(gone)))
    assert new.schema.equals(old.schema)
    assert pq.read_metadata(file.uri).metadata == pq.read_metadata(Path(table.path, part.path)).metadata
    known = pa.table(DeltaTable(table.path).get_add_actions(flatten=True)).to_pylist()[0]
    assert known["num_records"] == 12
    assert known["min.image_id"] == min(ids(0, 1, 3, 5))


def test_a_file_of_which_nothing_stays_goes(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("one", [builders.write_part(table, [1, 2]), builders.write_part(table, [3])])
    table.append("two", [], ids(1, 2), base_version=1)
    assert builders.contents(table.path) == builders.expected([3])
    live, dead = builders.live_and_dead(table)
    assert (len(live), len(dead)) == (1, 1)


def test_images_that_another_run_added_meanwhile_are_not_doubled(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("old", [builders.write_part(table, [0])])
    table.append("theirs", [builders.write_part(table, [1, 2, 3]), builders.write_part(table, [4])], base_version=1)
    part = builders.write_part(table, [2, 3, 4, 5], generation=1)
    assert table.append("ours", [part], base_version=1).version == 3
    assert builders.contents(table.path) == builders.expected([0, 1]) | builders.expected([2, 3, 4, 5], 1)


@pytest.mark.parametrize("base", [None, 0, 7])
def test_a_run_that_knew_of_nothing_is_compared_with_everything(tmp_path: Path, base: int | None) -> None:
    table = builders.make_table(tmp_path)
    table.append("theirs", [builders.write_part(table, range(4))])
    late = FeatureTable.open(table.path)
    late.append("ours", [builders.write_part(table, range(2, 6), generation=1)], base_version=base)
    assert builders.contents(table.path) == builders.expected([0, 1]) | builders.expected(range(2, 6), 1)


def test_nothing_is_compared_when_nothing_happened_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = builders.make_table(tmp_path)
    table.append("one", [builders.write_part(table, range(4))])
    part = builders.write_part(table, range(4, 8))

    def read_nothing(*_: object) -> None:
        raise AssertionError("data was read")

    monkeypatch.setattr(supersede, "read_ids", read_nothing)
    assert table.append("two", [part], base_version=1).version == 2


def test_files_that_others_compacted_are_searched(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("one", [builders.write_part(table, range(4)), builders.write_part(table, range(4, 8))])
    DeltaTable(table.path).optimize.compact()
    assert len(FeatureTable.open(table.path).data_files()) == 1
    part = builders.write_part(table, [3, 9], generation=1)
    table.append("two", [part], ids(3), base_version=1)
    assert builders.contents(table.path) == builders.expected(range(8)) | builders.expected([3, 9], 1)


def test_a_deletion_by_others_during_a_run_stays(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("one", [builders.write_part(table, range(6))])
    part = builders.write_part(table, [0, 7], generation=1)
    DeltaTable(table.path).delete(f"image_id = '{builders.image_id(5)}'")
    table.append("two", [part], ids(0), base_version=1)
    assert builders.contents(table.path) == builders.expected(range(1, 5)) | builders.expected([0, 7], 1)


def test_comparing_in_small_chunks_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supersede, "_ROWS_AT_ONCE", 5)
    table = builders.make_table(tmp_path)
    theirs = [builders.write_part(table, range(n, n + 3)) for n in range(0, 30, 3)]
    table.append("theirs", theirs)
    ours = [builders.write_part(table, range(n, n + 4), generation=1) for n in range(4, 40, 8)]
    table.append("ours", ours, base_version=0)
    fresh = [number for n in range(4, 40, 8) for number in range(n, n + 4)]
    assert builders.contents(table.path) == builders.expected(range(30)) | builders.expected(fresh, 1)


@pytest.mark.parametrize("at_once", [1_000_000, 5], ids=["in memory", "in sorted files"])
def test_any_number_of_images_is_replaced_that_files_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(supersede, "_ROWS_AT_ONCE", at_once)
    table = builders.make_table(tmp_path)
    table.append("one", [builders.write_part(table, range(n, n + 9)) for n in range(0, 36, 9)])
    parts = [builders.write_part(table, range(n, n + 5), generation=1) for n in (0, 14, 50)]
    gone = builders.write_part(table, [30, 31, 99])  # any file with the column will do
    table.append("two", parts, base_version=1, replaced_in=[*(part.path for part in parts), gone.path])
    stay = [n for n in range(36) if n not in (*range(5), *range(14, 19), 30, 31)]
    fresh = [*range(5), *range(14, 19), *range(50, 55)]
    assert builders.contents(table.path) == builders.expected(stay) | builders.expected(fresh, 1)

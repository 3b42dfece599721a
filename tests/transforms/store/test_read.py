from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tests.transforms.store import builders
from transforms.errors import StoreError
from transforms.store.read import count_images, iterate, read_features, read_file, vectors_of
from transforms.store.table import FeatureTable
from transforms.store.write import PartWriter

KNOWN_COLUMNS = ["image_id", "source_fingerprint", "sha256", "split", "labels", "group", "attributes"]


@pytest.fixture
def table(tmp_path: Path) -> FeatureTable:
    """Images 0 to 2999 in two parts of several row groups, the second with two views each."""
    made = builders.make_table(tmp_path)
    parts = []
    for name, numbers, views in (("a", range(2100), 1), ("b", range(2100, 3000), 2)):
        with PartWriter(made.path, f"data/{name}.parquet", made.schema, made.file_metadata) as writer:
            writer.write(builders.columns(numbers, views=views))
        parts.append(writer.part)
    made.append("run", parts)
    return FeatureTable.open(made.path)


ROWS = [(number, 0) for number in range(2100)] + [(n, view) for n in range(2100, 3000) for view in range(2)]


def test_everything_comes_back_exactly_and_in_order(table: FeatureTable) -> None:
    features = read_features(table)
    matrix = features.embeddings
    assert matrix.dtype == np.float32
    assert matrix.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(matrix, np.stack([builders.vector(n, 0, view) for n, view in ROWS]))
    assert features.image_ids == [builders.image_id(n) for n, _ in ROWS]
    assert features.image_uris == [f"/photographs/ä {n}.jpg" for n, _ in ROWS]
    assert features.sha256 == [builders.content(n) for n, _ in ROWS]
    assert features.splits == [builders.split_of(n) for n, _ in ROWS]
    assert features.labels == [tuple(f"label {k}" for k in range(n % 3)) for n, _ in ROWS]
    assert features.groups == ["" if n % 2 else f"group {n}" for n, _ in ROWS]
    assert features.view_ids.tolist() == [view for _, view in ROWS]
    assert features.attributes == [{"cell": "mono", "n": str(n)} if n % 4 else {} for n, _ in ROWS]
    again = read_features(table, threads=1)
    assert again.image_ids == features.image_ids
    np.testing.assert_array_equal(again.embeddings, matrix)


@pytest.mark.parametrize("splits", [["train"], ["test", "validation"], [], ["no such split"]])
@pytest.mark.parametrize("views", [None, [0], [1]])
def test_splits_and_views(table: FeatureTable, splits: list[str], views: list[int] | None) -> None:
    features = read_features(table, splits=splits, views=views, columns=("image_id", "view_id", "attributes"))
    rows = [(n, view) for n, view in ROWS if builders.split_of(n) in splits and (views is None or view in views)]
    assert features.embeddings.shape == (len(rows), builders.DIMENSION)
    assert features.image_ids == [builders.image_id(n) for n, _ in rows]
    assert features.attributes == [{"cell": "mono", "n": str(n)} if n % 4 else {} for n, _ in rows]
    assert features.labels == []
    for row, (number, view) in enumerate(rows):
        np.testing.assert_array_equal(features.embeddings[row], builders.vector(number, 0, view))


def test_row_groups_without_the_split_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = builders.make_table(tmp_path)
    batch = builders.columns(range(100))
    parts = []
    for split in ("test", "train"):
        parts.append(builders.write_columns(table, {**batch, "split": [split] * 100}))
    table.append("run", parts)
    table = FeatureTable.open(table.path)
    data = Path(table.path, parts[1].path)
    damaged = bytearray(data.read_bytes())
    damaged[4:-8000] = bytes(len(damaged) - 8004)  # its footer stays
    data.write_bytes(damaged)
    assert len(read_features(table, splits=["test"]).image_ids) == 100


def test_vectors_alone(table: FeatureTable) -> None:
    features = read_features(table, splits=["test"], columns=())
    expected = [builders.vector(n, 0, view) for n, view in ROWS if builders.split_of(n) == "test"]
    np.testing.assert_array_equal(features.embeddings, np.stack(expected))
    assert features.image_ids == []


def test_an_empty_table(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    features = read_features(table)
    assert features.embeddings.shape == (0, builders.DIMENSION)
    assert features.image_ids == features.labels == features.attributes == []
    assert list(iterate(table, ["image_id"])) == []


def test_iterating_gives_the_same_rows_in_bounded_batches(table: FeatureTable) -> None:
    batches = list(iterate(table, ["embedding", "image_id"], batch_rows=100))
    assert max(batch.num_rows for batch in batches) <= 100
    assert batches[0].schema.names == ["embedding", "image_id"]
    found = pa.Table.from_batches(batches)
    assert found.column("image_id").to_pylist() == [builders.image_id(n) for n, _ in ROWS]
    values = found.column("embedding").combine_chunks().flatten().to_numpy().reshape(-1, builders.DIMENSION)
    np.testing.assert_array_equal(values, read_features(table).embeddings)
    tests = pa.Table.from_batches(iterate(table, ["image_id"], splits=["test"]))
    assert tests.column("image_id").to_pylist() == [
        builders.image_id(n) for n, _ in ROWS if builders.split_of(n) == "test"
    ]


def test_known_rows_of_a_file(table: FeatureTable) -> None:
    known = [batch for file in table.data_files() for batch in read_file(file.uri, KNOWN_COLUMNS, views=(0,))]
    assert known[0].schema.names == KNOWN_COLUMNS
    rows = pa.Table.from_batches(known).to_pylist()
    assert len(rows) == 3000, "one row an image, whatever its views"
    assert sum(map(count_images, table.data_files())) == 3000
    assert rows[2501] == {
        "image_id": builders.image_id(2501),
        "source_fingerprint": "2501-0",
        "sha256": builders.content(2501),
        "split": "train",
        "labels": ["label 0", "label 1"],
        "group": "",
        "attributes": [("cell", "mono"), ("n", "2501")],
    }


def test_unknown_columns_are_named(table: FeatureTable) -> None:
    with pytest.raises(ValueError, match="no column 'colour'"):
        list(iterate(table, ["colour"]))


def test_a_missing_or_damaged_file_is_named(table: FeatureTable) -> None:
    Path(table.path, "data/b.parquet").write_bytes(b"PAR1" + b"x" * 100 + b"PAR1")
    with pytest.raises(StoreError, match=r"data/b\.parquet cannot be read"):
        read_features(table)
    Path(table.path, "data/b.parquet").unlink()
    with pytest.raises(StoreError, match=r"data/b\.parquet is missing"):
        read_features(table)
    with pytest.raises(StoreError, match=r"data/b\.parquet is missing"):
        list(iterate(table, ["image_id"]))


def test_vectors_of_unequal_length_are_not_reshaped(tmp_path: Path) -> None:
    column = pa.chunked_array([pa.array([[1.0] * 7, [1.0] * 9], pa.list_(pa.float32()))])
    with pytest.raises(StoreError, match="x has vectors that are not of length 8"):
        list(vectors_of(column, 8, "x"))


def test_files_that_others_rewrote_read_the_same(table: FeatureTable) -> None:
    """The writer of deltalake puts string views, zstd and other row groups into files of its own."""
    DeltaTable(table.path).delete(f"image_id = '{builders.image_id(7)}'")
    DeltaTable(table.path).optimize.compact()
    features = read_features(FeatureTable.open(table.path), splits=["train", "test"])
    rows = {(n, view) for n, view in ROWS if n != 7 and builders.split_of(n) != "validation"}
    assert len(features.image_ids) == len(rows)
    found = {
        (image_id, view): row
        for row, (image_id, view) in enumerate(zip(features.image_ids, features.view_ids.tolist(), strict=True))
    }
    for number, view in rows:
        row = found[builders.image_id(number), view]
        np.testing.assert_array_equal(features.embeddings[row], builders.vector(number, 0, view))
        assert features.labels[row] == tuple(f"label {k}" for k in range(number % 3))
        assert features.attributes[row] == ({"cell": "mono", "n": str(number)} if number % 4 else {})
    (batch, *_) = iterate(FeatureTable.open(table.path), table.schema.names)
    assert batch.schema.equals(table.schema.remove_metadata())

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.report.table_sample import count_labels, sample_rows
from tests.pipelines.training.builders import make_table
from transforms.store.table import FeatureTable


def table_of(store: Path, rows: int = 300) -> FeatureTable:
    vectors = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
    labels = [["cat"] if row % 3 else ["dog", "pet"] if row % 2 else [] for row in range(rows)]
    return make_table(store, vectors, labels, ["train", "train", "test"] * (rows // 3))


def test_a_sample_is_of_different_rows_and_the_same_every_time(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    found = sample_rows(table.data_files(), 4, 50)
    assert found.embeddings.shape == (50, 4)
    assert len(set(found.image_ids)) == len(found.labels) == len(found.splits) == len(found.attributes) == 50
    assert found.embeddings[:, 0].max() > 900, "rows come from the whole table"
    assert sample_rows(table.data_files(), 4, 50).image_ids == found.image_ids


def test_all_rows_are_found_when_there_is_room(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    assert len(sample_rows(table.data_files(), 4, 1000).embeddings) == 300
    assert len(sample_rows(table.data_files(), 4, 1000, run_id="another").embeddings) == 0
    assert sample_rows([], 4, 10).embeddings.shape == (0, 4)


def test_labels_are_counted_by_split(tmp_path: Path) -> None:
    counts = count_labels(table_of(tmp_path).data_files())
    assert counts.rows == counts.total == 300
    assert counts.labels() == [("cat", 200), ("", 50), ("dog", 50), ("pet", 50)]
    assert counts.cells["cat", "train"] == 100
    assert counts.cells["dog", "train"] == 50

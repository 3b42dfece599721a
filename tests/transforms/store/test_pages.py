"""Vectors are copied straight from plain pages; whatever is stored otherwise is left to Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.transforms.store import builders
from transforms.store import read as read_module
from transforms.store.pages import read_lists, read_vectors
from transforms.store.read import read_features

ELEMENT = pa.field("element", pa.float32(), nullable=False)


def write(path: Path, lists: Sequence[Any], **options: Any) -> Path:
    column = pa.array(lists, pa.list_(ELEMENT))
    table = pa.table({"number": range(len(lists)), "embedding": column})
    pq.write_table(table, path, **{"compression": "none", "use_dictionary": False, **options})
    return path


def read(path: Path, dimension: int, group: int = 0) -> np.ndarray | None:
    footer = pq.read_metadata(path)
    vectors = np.full((footer.row_group(group).num_rows, dimension), np.nan, np.float32)
    with pa.OSFile(str(path)) as source:
        return vectors if read_vectors(source, footer, group, "embedding", vectors) else None


@pytest.mark.parametrize("dimension", [1, 2, 7, 8, 9, 64, 1001, 1280])
@pytest.mark.parametrize("page_bytes", [100, 4096, 1 << 20])
def test_plain_pages_give_what_was_written(tmp_path: Path, dimension: int, page_bytes: int) -> None:
    """Small pages end within a list."""
    vectors = np.random.default_rng(dimension).standard_normal((75, dimension), dtype=np.float32)
    path = write(tmp_path / "a", list(vectors), row_group_size=50, data_page_size=page_bytes, write_batch_size=5)
    for group, wanted in enumerate((vectors[:50], vectors[50:])):
        found = read(path, dimension, group)
        assert found is not None
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "options",
    [{"compression": "zstd"}, {"use_dictionary": True}, {"data_page_version": "2.0"}, {"use_byte_stream_split": True}],
    ids=lambda options: next(iter(options)),
)
def test_other_pages_are_left_to_arrow(tmp_path: Path, options: dict[str, Any]) -> None:
    assert read(write(tmp_path / "a", [[1.0, 2.0]] * 20, **options), 2) is None


def test_lists_of_other_lengths_are_seen(tmp_path: Path) -> None:
    lists = [[1.0] * (3 if n % 2 else 5) for n in range(20)]
    assert read(write(tmp_path / "a", lists), 4) is None
    assert read(write(tmp_path / "b", [[1.0] * 4] * 20), 2) is None
    assert read(write(tmp_path / "c", [[1.0, 2.0], [], [1.0, 2.0, 3.0, 4.0]]), 2) is None
    assert read(write(tmp_path / "d", [[1.0, 2.0], None, [1.0, 2.0]]), 2) is None


def test_damaged_pages_are_no_traceback(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [[float(n)] * 8 for n in range(64)])
    whole = path.read_bytes()
    start = pq.read_metadata(path).row_group(0).column(1).data_page_offset
    random = np.random.default_rng(0)
    for place in range(start, start + 64):  # the header and the levels
        damaged = bytearray(whole)
        damaged[place] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        found = read(path, 8)
        assert found is None or not np.isnan(found).any()


def test_a_stream_of_a_table_is_the_same_by_either_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of 1,024 rows and the rest of them; those larger than a batch are Arrow's, to bound the memory."""
    table = builders.make_table(tmp_path)
    table.append("run", [builders.write_part(table, range(1100))])
    file = read_module.FeatureTable.open(table.path).data_files()[0].uri
    taken: list[int] = []

    def watched(*arguments: Any) -> pa.ListArray | None:
        found = read_lists(*arguments)
        taken.append(-1 if found is None else len(found))
        return found

    def stream() -> list[pa.Table]:
        wanted = {"all": table.schema.names, "some": ["labels", "embedding"], "vectors": ["embedding"]}
        read = [pa.Table.from_batches(read_module.read_file(file, names)) for names in wanted.values()]
        return [*read, pa.Table.from_batches(read_module.read_file(file, ["embedding", "split"], splits=["test"]))]

    monkeypatch.setattr(read_module, "read_lists", watched)
    direct = stream()
    assert taken == [1024, 76] * 4
    assert next(read_module.read_file(file, ["embedding"], 1000)).num_rows == 1000
    assert taken == [1024, 76] * 4, "one of 1,024 rows was read at once"
    monkeypatch.setattr(read_module, "read_lists", lambda *_: None)
    for one, other in zip(direct, stream(), strict=True):
        assert one.schema.equals(other.schema)
        assert one.equals(other)


def test_lists_are_those_that_were_written(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [[1.0, 2.0]] * 3)
    with pa.OSFile(str(path)) as source:
        found = read_lists(source, pq.read_metadata(path), 0, "embedding")
        assert found is not None
        assert found.to_pylist() == [[1.0, 2.0]] * 3
        assert read_lists(source, pq.read_metadata(path), 0, "number") is None
    for name, lists in {"empty": [], "uneven": [[1.0], [1.0, 2.0, 3.0]], "odd": [[1.0], [1.0, 2.0]]}.items():
        path = write(tmp_path / name, lists, row_group_size=3)
        table = pq.ParquetFile(path)
        with pa.OSFile(str(path)) as source:
            for group in range(table.num_row_groups):
                assert read_lists(source, table.metadata, group, "embedding") is None


def test_a_table_reads_the_same_by_either_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = builders.make_table(tmp_path)
    parts = [builders.write_part(table, range(start, start + 30)) for start in (0, 30)]
    table.append("run", parts)
    from transforms.store import read as module
    from transforms.store.table import FeatureTable

    table = FeatureTable.open(table.path)
    taken: list[bool] = []

    def watched(*arguments: Any) -> bool:
        taken.append(read_vectors(*arguments))
        return taken[-1]

    monkeypatch.setattr(module, "read_vectors", watched)
    direct = [read_features(table), read_features(table, splits=["test"])]
    assert taken == [True] * len(taken)
    assert len(taken) == 4
    monkeypatch.setattr(module, "read_vectors", lambda *_: False)
    for one, other in zip(direct, [read_features(table), read_features(table, splits=["test"])], strict=True):
        np.testing.assert_array_equal(one.embeddings, other.embeddings)
        assert (one.image_ids, one.labels, one.attributes) == (other.image_ids, other.labels, other.attributes)

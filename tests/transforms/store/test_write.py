from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.transforms.store import builders
from transforms.store.schema import DEAD_LETTER_SCHEMA, feature_schema, prediction_schema
from transforms.store.write import ROW_GROUP_ROWS, Part, PartWriter


def test_a_part_holds_exactly_what_was_written(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    part = builders.write_part(table, range(7), views=2)
    file = Path(table.path, part.path)
    assert part == Part(part.path, 14, file.stat().st_size)
    found = pq.read_table(file)
    assert found.schema.equals(feature_schema(builders.DIMENSION))
    expected = builders.columns(range(7), views=2)
    for name in expected:
        values = found.column(name).to_pylist()
        if name == "embedding":
            np.testing.assert_array_equal(np.array(values, np.float32), expected[name])
        elif name == "labels":
            assert [tuple(value) for value in values] == expected[name]
        elif name == "attributes":
            assert [dict(value) for value in values] == expected[name]
        else:
            assert values == expected[name], name
    assert list(Path(table.path, "data").iterdir()) == [file]


def test_row_groups_are_bounded_whatever_the_batches(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    total = 2 * ROW_GROUP_ROWS + 300
    vectors = np.arange(total * builders.DIMENSION, dtype=np.float32).reshape(total, -1)
    template = builders.columns([1])
    with PartWriter(table.path, "data/a.parquet", table.schema, table.file_metadata) as writer:
        start = 0
        buffer = np.empty((700, builders.DIMENSION), np.float32)
        for size in (1, 700, 0, 323, 700, 624):
            batch = {name: value * size for name, value in template.items() if isinstance(value, list)}
            buffer[:size] = vectors[start : start + size]
            writer.write({**batch, "embedding": buffer[:size]})
            start += size
    assert start == total == writer.part.rows
    file = pq.ParquetFile(tmp_path / builders.specification().table_name / "data/a.parquet")
    sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    assert sizes == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 300]
    stored = file.read(["embedding"]).column(0).combine_chunks().flatten().to_numpy()
    np.testing.assert_array_equal(stored.reshape(total, -1), vectors)


def test_vectors_are_plain_unless_asked(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)

    def vector_column(part: Part) -> pq.ColumnChunkMetaData:
        group = pq.read_metadata(Path(table.path, part.path)).row_group(0)
        return next(
            group.column(index)
            for index in range(group.num_columns)
            if group.column(index).path_in_schema == "embedding.list.element"
        )

    plain = vector_column(builders.write_part(table, range(3)))
    assert plain.compression == "UNCOMPRESSED"
    assert not any("DICTIONARY" in encoding for encoding in plain.encodings)
    packed = vector_column(builders.write_columns(table, builders.columns(range(3)), compression="zstd"))
    assert packed.compression == "ZSTD"


def test_files_carry_the_encoder(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    part = builders.write_part(table, range(3))
    metadata = pq.read_metadata(Path(table.path, part.path)).metadata
    encoder = builders.specification()
    assert metadata[b"heliograph.encoder_fingerprint"].decode() == encoder.fingerprint
    assert metadata[b"heliograph.preprocessing_fingerprint"].decode() == encoder.preprocessing.fingerprint
    assert metadata[b"heliograph.engine"] == b"tensorflow"
    assert metadata[b"heliograph.precision"] == b"float32"
    assert metadata[b"heliograph.dimension"] == str(builders.DIMENSION).encode()
    assert b"heliograph.golden" not in metadata


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    writer = PartWriter(table.path, "data/a.parquet", table.schema, table.file_metadata)

    def interrupted() -> None:
        with writer:
            writer.write(builders.columns(range(2000)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(Path(table.path, "data").iterdir()) == []
    with pytest.raises(ValueError, match="not finished"):
        _ = writer.part


def test_a_part_is_invisible_until_it_is_complete(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    with PartWriter(table.path, "data/a.parquet", table.schema, table.file_metadata) as writer:
        writer.write(builders.columns(range(2000)))
        assert list(Path(table.path, "data").glob("*.parquet")) == []
    assert [path.name for path in Path(table.path, "data").iterdir()] == ["a.parquet"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": np.zeros((3, 9), np.float32)}, "embedding must have 8 values a row, got 9"),
        ({"embedding": np.full((3, 8), np.nan, np.float32)}, "not finite"),
        ({"split": ["train"]}, "equally long"),
        ({"colour": ["red"] * 3}, "colour"),
    ],
)
def test_a_wrong_batch_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    table = builders.make_table(tmp_path)
    with pytest.raises(ValueError, match=message):
        builders.write_columns(table, {**builders.columns(range(3)), **change})
    assert list(Path(table.path, "data").iterdir()) == []


def test_names_that_are_not_utf8_do_not_cost_the_part(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    batch = builders.columns(range(2))
    batch["image_uri"] = ["/photographs/\udcff.jpg", "/b.jpg"]
    batch["labels"] = [("\udcfe", "b"), ()]
    batch["attributes"] = [(("k", "\udcfd"),), {}]
    found = pq.read_table(Path(table.path, builders.write_columns(table, batch).path))
    assert found.column("image_uri").to_pylist() == ["/photographs/\\udcff.jpg", "/b.jpg"]
    assert found.column("labels").to_pylist() == [["\\udcfe", "b"], []]
    assert found.column("attributes").to_pylist() == [[("k", "\\udcfd")], []]


def test_dead_letters_and_predictions_are_written_alike(tmp_path: Path) -> None:
    for name, schema in (("d.parquet", DEAD_LETTER_SCHEMA), ("p.parquet", prediction_schema())):
        row = {field.name: [None] for field in schema}
        row["image_uri"] = ["/a.jpg"]
        if "confidences" in schema.names:
            row["confidences"] = [[0.75, 0.25]]
        with PartWriter(str(tmp_path), name, schema, {}) as writer:
            writer.write(row)
        found = pq.read_table(tmp_path / name)
        assert found.schema.equals(schema)
        assert found.to_pylist()[0] == {key: value[0] for key, value in row.items()}


_DISK_FULL = """
import resource, signal, sys
from tests.transforms.store import builders
from transforms.errors import CommitError
from transforms.store.table import FeatureTable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
table = FeatureTable.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    builders.write_part(table, range(3000))
except CommitError as error:
    print(error)
"""


def test_a_full_disk_is_one_line_and_leaves_nothing_and_the_next_run_goes_on(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    done = subprocess.run([sys.executable, "-c", _DISK_FULL, table.path], capture_output=True, text=True, check=False)
    assert done.returncode != -signal.SIGXFSZ
    assert done.stdout.count("\n") == 1, done.stderr
    for words in ("cannot be written", "File too large", "make room"):
        assert words in done.stdout
    assert list(Path(table.path, "data").iterdir()) == []
    assert builders.contents(table.path) == {}
    table.append("next", [builders.write_part(table, range(20))])
    assert builders.contents(table.path) == builders.expected(range(20))


def test_the_least_compatible_types_are_the_standard_ones(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    part = builders.write_part(table, range(3))
    schema = pq.ParquetFile(Path(table.path, part.path)).schema
    paths = {schema.column(index).path for index in range(len(schema))}
    assert {"embedding.list.element", "labels.list.element", "attributes.key_value.key"} <= paths
    assert feature_schema(8).field("embedding").type.value_type == pa.float32()

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType

from tests.transforms.store import builders
from tests.transforms.store.test_commit import go
from transforms.errors import CommitError, StoreError
from transforms.store.table import FeatureTable


def test_a_table_says_what_made_it(tmp_path: Path) -> None:
    made = builders.make_table(tmp_path)
    found = FeatureTable.open(made.path)
    assert found.version == 0
    assert found.specification == builders.specification()
    np.testing.assert_array_equal(found.golden, builders.GOLDEN)
    assert found.golden.dtype == np.float32
    assert found.data_files() == []
    configuration = DeltaTable(made.path).metadata().configuration
    encoder = builders.specification()
    assert json.loads(configuration["heliograph.encoder"]) == encoder.to_json()
    assert configuration["heliograph.encoder_fingerprint"] == encoder.fingerprint
    assert configuration["heliograph.preprocessing_fingerprint"] == encoder.preprocessing.fingerprint
    assert configuration["heliograph.engine"] == "tensorflow"
    assert configuration["heliograph.precision"] == "float32"
    assert configuration["heliograph.dimension"] == "8"


def test_what_a_table_says_survives_a_checkpoint_without_its_log(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("run", [builders.write_part(table, range(3))])
    DeltaTable(table.path).create_checkpoint()
    for entry in Path(table.path, "_delta_log").glob("*.json"):
        entry.unlink()
    found = FeatureTable.open(table.path)
    np.testing.assert_array_equal(found.golden, builders.GOLDEN)
    assert found.specification == builders.specification()
    assert found.append("run", []).already


def test_versions_outlive_the_log_s_retention(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("run", [builders.write_part(table, range(3))])
    DeltaTable(table.path).alter.set_table_properties({"delta.checkpointInterval": "1"})
    for entry in Path(table.path, "_delta_log").iterdir():
        os.utime(entry, (0, 0))
    table.append("next", [builders.write_part(table, range(3, 5))])
    assert list(Path(table.path, "_delta_log").glob("*.checkpoint.parquet"))
    assert builders.contents(table.path, 1) == builders.expected(range(3))


def test_creating_twice_makes_one_table(tmp_path: Path) -> None:
    first = builders.make_table(tmp_path)
    first.append("run", [builders.write_part(first, range(3))])
    again = FeatureTable.create(first.path, builders.specification(), builders.GOLDEN * 2)
    assert again.version == 1
    np.testing.assert_array_equal(again.golden, builders.GOLDEN)


def test_a_table_of_another_encoder_is_refused(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    other = dataclasses.replace(builders.specification(), precision="bfloat16")
    with pytest.raises(StoreError, match=f"not of tiny {other.fingerprint}; name another store"):
        FeatureTable.create(table.path, other, builders.GOLDEN)


_CREATE = """
import sys
from tests.transforms.store import builders
from transforms.store.table import FeatureTable
encoder = builders.specification()
print("ready", flush=True)
sys.stdin.readline()
table = FeatureTable.create(sys.argv[1], encoder, builders.GOLDEN * float(sys.argv[2]))
print(table.version, float(table.golden[0, 0]))
"""


def test_two_processes_create_one_table(tmp_path: Path) -> None:
    path = str(tmp_path / "tiny")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _CREATE, path, str(factor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for factor in (1, 2, 3)
    ]
    go(children)
    answers = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(set(answers)) == 1
    assert FeatureTable.open(path).version == 0
    assert len(list(Path(path, "_delta_log").glob("*.json"))) == 1


def test_many_creations_at_once_make_one_version(tmp_path: Path) -> None:
    """Left to its retries, the loser of a race would write its metadata as version 1."""
    barrier = threading.Barrier(8)

    def make(factor: int, path: str) -> tuple[int, float]:
        barrier.wait()
        table = FeatureTable.create(path, builders.specification(), builders.GOLDEN * factor)
        return table.version, float(table.golden[0, 0])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for number in range(15):
            made = list(pool.map(make, range(1, 9), [str(tmp_path / f"table {number}")] * 8))
            assert len(set(made)) == 1
            assert made[0][0] == 0


@pytest.mark.parametrize("what", ["missing", "empty", "file", "other"])
def test_what_is_no_table_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    if what in ("empty", "other"):
        path.mkdir()
    if what == "file":
        path.write_text("hello")
    if what == "other":
        (path / "holiday.jpg").write_text("x")
    assert not FeatureTable.exists(str(path))
    with pytest.raises(StoreError, match=f"{what} is no table") as caught:
        FeatureTable.open(str(path))
    assert "\n" not in str(caught.value)


def test_a_delta_table_of_others_is_refused(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "t"), pa.table({"a": [1]}))
    with pytest.raises(StoreError, match="is a Delta table but no feature table"):
        FeatureTable.open(str(tmp_path / "t"))


def test_versions_can_be_read_again(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("one", [builders.write_part(table, range(3))])
    FeatureTable.open(table.path).append("two", [builders.write_part(table, range(3, 5))])
    assert builders.contents(table.path, 0) == {}
    assert builders.contents(table.path, 1) == builders.expected(range(3))
    assert builders.contents(table.path, 2) == builders.contents(table.path) == builders.expected(range(5))
    for version in (3, -1, 2**70):
        with pytest.raises(StoreError, match=f"has no version {version}; the newest is 2"):
            FeatureTable.open(table.path, version)


def test_data_files_name_rows_and_sizes(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    part = builders.write_part(table, range(3))
    table.append("one", [part])
    (file,) = FeatureTable.open(table.path).data_files()
    assert (file.path, file.rows, file.size) == part
    assert Path(file.uri).stat().st_size == part.size


def test_a_column_that_another_added_stops_appends_but_not_reading(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("one", [builders.write_part(table, range(3))])
    DeltaTable(table.path).alter.add_columns([Field("colour", PrimitiveType("string"))])
    assert builders.contents(table.path) == builders.expected(range(3))
    part = builders.write_part(table, range(3, 6))
    with pytest.raises(CommitError, match="changed by another: column 'colour' is unknown"):
        table.append("two", [part])
    assert builders.contents(table.path) == builders.expected(range(3))


def test_a_column_that_another_took_away_is_named(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    part = builders.write_part(table, range(3))
    _edit_schema(table.path, drop="sha256")
    with pytest.raises(StoreError, match="changed by another: column 'sha256' is missing"):
        FeatureTable.open(table.path)
    with pytest.raises(CommitError, match="column 'sha256' is missing"):
        table.append("one", [part])


def _edit_schema(path: str, drop: str) -> None:
    """Commits what a careless writer might: a new schema in the log's metadata."""
    entries = [json.loads(line) for line in Path(path, "_delta_log", f"{0:020d}.json").read_text().splitlines()]
    metadata = next(entry for entry in entries if "metaData" in entry)
    schema = json.loads(metadata["metaData"]["schemaString"])
    schema["fields"] = [field for field in schema["fields"] if field["name"] != drop]
    metadata["metaData"]["schemaString"] = json.dumps(schema)
    Path(path, "_delta_log", f"{1:020d}.json").write_text(json.dumps(metadata))


_FORKED = """
import os, sys
from transforms.errors import StoreError
from transforms.store.table import FeatureTable
FeatureTable.open(sys.argv[1])
child = os.fork()
if child == 0:
    try:
        FeatureTable.open(sys.argv[1])
    except StoreError as error:
        print("refused:", "orked process" in str(error) and "\\n" not in str(error), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_panic_after_a_fork_becomes_an_error(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKED, table.path],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == "refused: True\n"


def test_a_directory_that_deltalake_would_miss_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="name with '%20'; rename it"):
        builders.make_table(tmp_path / "per%20cent")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["with space", "100 % cotton", "hash#tag", "ünïcode", "question?"])
def test_odd_directories_work(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    table = builders.make_table(tmp_path / name)
    table.append("one", [builders.write_part(table, range(3))])
    table.append("two", [builders.write_part(table, [0], 1)], replaced_ids=[builders.image_id(0)])
    assert builders.contents(table.path) == {**builders.expected(range(3)), **builders.expected([0], 1)}
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == [builders.specification().table_name]

"""What other teams do: they read the table with none of our code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.transforms.store import builders
from transforms.store.table import FeatureTable

_STRANGER = """
import json, os, sys
import pyarrow.dataset
from deltalake import DeltaTable
assert not any(name.startswith("transforms") for name in sys.modules)
path = sys.argv[1]
def rows(table):
    names = ("image_id", "embedding", "labels", "attributes", "event_timestamp")
    return sorted(tuple(row[name] for name in names[:4]) + (row[names[4]].isoformat(),)
                  for row in table.to_pylist())
plain = pyarrow.dataset.dataset(path + "/data", format="parquet").to_table()
delta = DeltaTable(path).to_pyarrow_table()
assert rows(plain) == rows(delta)
types = [str(found.schema.field("embedding").type) for found in (delta, plain)]
tests = DeltaTable(path).to_pyarrow_dataset().count_rows(filter=pyarrow.dataset.field("split") == "test")
print(json.dumps([rows(delta), *types, tests]), flush=True)
os._exit(0)  # deltalake's file system, written in Python, now and then aborts Arrow's threads at exit
"""


def read_as_a_stranger(path: str) -> tuple[list[list[object]], str, str, int]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", _STRANGER, path], capture_output=True, text=True, check=True, timeout=60
    )
    rows, delta, plain, tests = json.loads(done.stdout)
    return rows, delta, plain, tests


def test_delta_and_plain_parquet_are_the_same_rows(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("one", [builders.write_part(table, range(6)), builders.write_part(table, range(6, 10))])
    rows, delta, plain, tests = read_as_a_stranger(table.path)
    assert delta == plain == "list<element: float not null>"
    assert tests == 2
    assert [row[0] for row in rows] == sorted(builders.image_id(number) for number in range(10))
    by_id = {builders.image_id(number): number for number in range(10)}
    for image_id, vector, labels, attributes, moment in rows:
        number = by_id[str(image_id)]
        assert vector == builders.vector(number).tolist()
        assert labels == [f"label {k}" for k in range(number % 3)]
        assert attributes == ([["cell", "mono"], ["n", str(number)]] if number % 4 else [])
        assert moment == "2026-01-02T03:04:05.678901+00:00"


def test_after_a_replacement_and_a_vacuum_plain_parquet_is_right_again(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    table = builders.make_table(tmp_path)
    table.append("one", [builders.write_part(table, range(6))])
    table.append("two", [builders.write_part(table, [2], 1)], [builders.image_id(2)], base_version=1)
    orphan = builders.write_part(table, [99])
    Path(table.path, "data", ".part-x.parquet.1234.tmp").write_text("cut off")
    DeltaTable(table.path).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    assert not Path(table.path, orphan.path).exists()
    assert not Path(table.path, "data", ".part-x.parquet.1234.tmp").exists()
    rows, *_ = read_as_a_stranger(table.path)
    assert len(rows) == 6
    assert builders.contents(table.path) == builders.expected(range(6)) | builders.expected([2], 1)
    assert len(FeatureTable.open(table.path).data_files()) == 2

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from transforms.files import runs
from transforms.files.runs import KEY, Run, RunWriter, read_range, remove_directory, split_ranges

SCHEMA = pa.schema([KEY, ("payload", pa.binary())])


def key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def write(directory: Path, numbers: list[int]) -> list[Run]:
    writer = RunWriter(str(directory), SCHEMA)
    found = [writer.add((key(n), str(n).encode())) for n in numbers]
    return [run for run in [*found, writer.flush()] if run is not None]


@pytest.mark.parametrize("rows", [1, 7, 50, 1000])
def test_ranges_hold_every_row_once_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(runs, "RUN_ROWS", 40)
    monkeypatch.setattr(runs, "GROUP_ROWS", 8)
    numbers = [n * 7919 % 256 for n in range(300)]  # some come twice; keys that end in zeros among them
    written = write(tmp_path, [*numbers, 0, 0, 256, 512])
    assert [run.rows for run in written] == [40] * 7 + [24]
    ranges = list(split_ranges(written, rows))
    found = [read_range(written, keys, SCHEMA)["payload"].to_pylist() for keys in ranges]
    assert [int(one) for part in found for one in part] == sorted([*numbers, 0, 0, 256, 512])
    assert len(ranges) == (1 if rows == 1000 else len(ranges)) > (0 if rows == 1000 else 2)


def test_a_run_is_bounded_by_its_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUN_BYTES", 10)
    assert [run.rows for run in write(tmp_path, list(range(100, 110)))] == [4, 4, 2]


def test_rows_that_wait_are_no_python_objects(tmp_path: Path) -> None:
    writer, rows = RunWriter(str(tmp_path), SCHEMA), 10_000
    tracemalloc.start()
    for number in range(rows):
        writer.add((key(number), str(number).encode()))
    held, _ = tracemalloc.get_traced_memory()  # without Arrow's
    tracemalloc.stop()
    assert held / rows < 40  # as tuples 150


def test_nothing_is_one_empty_range(tmp_path: Path) -> None:
    assert list(split_ranges([])) == [(b"", None)]
    assert read_range([], (b"", None), SCHEMA).num_rows == 0
    assert write(tmp_path, []) == []
    remove_directory(str(tmp_path / "nowhere"))

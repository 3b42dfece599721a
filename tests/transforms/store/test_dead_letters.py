from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.store.dead_letters import publish_dead_letters, read_dead_letters
from transforms.store.schema import DEAD_LETTER_SCHEMA

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


def write_letters(table: Path, name: str, run_id: str, *image_ids: str) -> str:
    rows = [
        {"image_id": i, "image_uri": f"/{i}", "run_id": run_id, "attempt": 1, "created": NOW, "labels": ["a"]}
        for i in image_ids
    ]
    (table / "_work" / "parts").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=DEAD_LETTER_SCHEMA), table / "_work" / "parts" / name)
    return f"_work/parts/{name}"


def write_part(table: Path, name: str, *image_ids: str) -> str:
    (table / "data").mkdir(exist_ok=True)
    pq.write_table(pa.table({"image_id": list(image_ids)}), table / "data" / name)
    return f"data/{name}"


def letters(table: Path) -> dict[str, tuple[str, int]]:
    rows: list[dict[str, Any]] = [row for batch in read_dead_letters(str(table)) for row in batch.to_pylist()]
    assert len({row["image_id"] for row in rows}) == len(rows)
    return {row["image_id"]: (row["run_id"], row["attempt"]) for row in rows}


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_what_works_now_is_cleared_and_what_fails_again_is_counted(tmp_path: Path, times: int) -> None:
    publish_dead_letters(str(tmp_path), "r1", {"s1": write_letters(tmp_path, "1", "r1", "a", "b", "c", "d")}, [])
    assert letters(tmp_path) == dict.fromkeys("abcd", ("r1", 1))
    again = {"s2": write_letters(tmp_path, "2", "r2", "b", "e")}
    parts = [write_part(tmp_path, "p.parquet", "a", "x")]
    for _ in range(times):
        publish_dead_letters(str(tmp_path), "r2", again, parts)
    assert letters(tmp_path) == {"c": ("r1", 1), "d": ("r1", 1), "b": ("r2", 2), "e": ("r2", 1)}
    assert not list((tmp_path / "_work" / "parts").iterdir())


def test_a_file_that_has_no_letter_left_is_gone(tmp_path: Path) -> None:
    publish_dead_letters(str(tmp_path), "r1", {"s1": write_letters(tmp_path, "1", "r1", "a")}, [])
    publish_dead_letters(str(tmp_path), "r2", {}, [write_part(tmp_path, "p.parquet", "a")])
    assert letters(tmp_path) == {}
    assert not list(tmp_path.glob("_dead_letters/*/*"))


def test_a_table_without_any_has_none(tmp_path: Path) -> None:
    assert letters(tmp_path) == {}

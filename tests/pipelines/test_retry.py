"""Dead letters are tried again, in a store and beside predictions; what works is cleared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines import embed, retry, score
from tests.photographs import draw, encoded, write_folder
from transforms.store.catalog import open_table
from transforms.store.dead_letters import read_dead_letters
from transforms.store.read import read_features


def letters(store: Path) -> dict[str, int]:
    table = open_table(str(store)).path
    rows = [row for batch in read_dead_letters(table) for row in batch.to_pylist()]
    return {Path(row["image_uri"]).name: row["attempt"] for row in rows}


def record(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert retry.main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos = write_folder(tmp_path / "photos", per_label=3)
    for name in ("a.jpg", "b.jpg"):
        (photos / "disc" / name).touch()
    assert embed.main(["--input", "photos", "--store", "store"]) == 0
    assert letters(tmp_path / "store") == {"a.jpg": 1, "b.jpg": 1}
    (photos / "disc" / "a.jpg").write_bytes(encoded(draw("disc", 90)))
    (photos / "disc" / "new.jpg").write_bytes(encoded(draw("disc", 91)))
    monkeypatch.chdir("/")
    found = record(capsys, [str(tmp_path / "store")])
    assert (found["listed"], found["embedded"], found["failed"]) == (2, 1, 1)
    assert letters(tmp_path / "store") == {"b.jpg": 2}
    assert len(read_features(open_table(str(tmp_path / "store"))).image_ids) == 7
    assert retry.main([str(tmp_path / "store")]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "heliograph: 1 of 1 failed again"
    (photos / "disc" / "b.jpg").write_bytes(encoded(draw("disc", 92)))
    assert record(capsys, [str(tmp_path / "store")])["embedded"] == 1
    assert letters(tmp_path / "store") == {}
    capsys.readouterr()
    assert retry.main([str(tmp_path / "store")]) == 0
    assert "no image has failed, there is nothing to try again" in capsys.readouterr().err


def test_predictions(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=6)
    (photos / "disc" / "a.jpg").touch()
    output = tmp_path / "out"
    arguments = ["--input", str(photos), "--model", str(model), "--output", str(output), "--shard-size", "4"]
    assert score.main(arguments) == 0
    (photos / "disc" / "a.jpg").write_bytes(encoded(draw("disc", 90)))
    found = record(capsys, [str(output)])
    assert (found["listed"], found["scored"], found["failed"]) == (13, 13, 0)
    assert not list(output.glob("errors_*"))
    files = list(output.glob("predictions_*.parquet"))
    assert sum(pq.read_metadata(path).num_rows for path in files) == 13
    assert {path.name for path in files} <= set(found["files"])


def test_the_place_needs_no_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert retry.main(["--store", "store"]) == 2
    assert "; give it without a flag: heliograph retry STORE-OR-DIR" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["nowhere", "empty", "other"])
def test_mistakes_get_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text("{}")
    assert retry.main([str(tmp_path / place)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("heliograph: ")

"""The demo: all of the main job on real photographs, measured against scikit-learn."""

from __future__ import annotations

import collections
import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines import demo
from pipelines.demo import Cell, data_directory, read_cells, split_cells, write_manifest
from transforms.errors import InputError
from transforms.store.catalog import open_table
from transforms.store.read import read_features


def test_the_cells_are_those_of_the_data_set() -> None:
    cells = read_cells(data_directory())
    assert len(cells) == 2624
    assert collections.Counter(cell.cell_type for cell in cells) == {"mono": 1074, "poly": 1550}
    assert collections.Counter(cell.label for cell in cells) == {"functional": 1803, "defective": 821}


def test_a_fifth_of_every_kind_is_held_back_whatever_the_order() -> None:
    cells = [Cell(f"/x/{n}.png", (n % 4) / 3, "mono" if n % 3 else "poly") for n in range(1200)]
    splits = split_cells(cells)
    assert splits == split_cells(reversed(cells))
    for kind in ("mono", "poly"):
        for label in ("defective", "functional"):
            own = [splits[cell] for cell in cells if (cell.cell_type, cell.label) == (kind, label)]
            assert own.count("test") == round(0.2 * len(own))
            assert own.count("validation") == round(0.32 * len(own)) - round(0.2 * len(own))


def test_the_manifest(tmp_path: Path) -> None:
    cell = Cell("/x/a,b.png", 2 / 3, "mono")
    write_manifest(tmp_path / "m.csv", [cell], {cell: "test"})
    with (tmp_path / "m.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "uri": "/x/a,b.png",
        "label": "defective",
        "split": "test",
        "cell_type": "mono",
    }


def test_without_the_package_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError):
        data_directory()
    assert demo.main([]) == 2
    assert "the demo's photographs are not installed: run `make demo`" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_twice_and_as_good_as_scikit_learn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    assert demo.main(["--directory", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "CC BY-NC-SA 4.0" in said
    assert "2,624 photographs of solar cells; 2,624 embedded at" in said
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert f"525 held back and classified: {metrics['overall']['accuracy']:.1%} right" in said
    assert {part["value"] for part in metrics["slices"]["cell_type"]} == {"mono", "poly"}

    table = open_table(str(tmp_path / "store"))
    train, test = read_features(table, splits=["train"]), read_features(table, splits=["test"])
    probe = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=[3e-3, 1e-2, 3e-2], cv=3, scoring="accuracy", max_iter=300, l1_ratios=(0.0,), use_legacy_attributes=False
        ),
    ).fit(train.embeddings, [labels[0] for labels in train.labels])
    accuracy = np.mean(probe.predict(test.embeddings) == [labels[0] for labels in test.labels])
    assert metrics["overall"]["accuracy"] >= accuracy - 0.01
    assert metrics["overall"]["majority_accuracy"] == pytest.approx(0.69, abs=0.02)

    assert demo.main(["--directory", str(tmp_path)]) == 0
    assert "none embedded again (2,624 were in the store)" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "models" / "cells").iterdir() if path.is_dir()] == ["1"]

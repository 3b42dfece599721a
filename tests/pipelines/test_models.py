from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import models, score, train
from pipelines.promotion import judge
from tests.commands import Run, runner
from tests.pipelines.training.builders import DIMENSION, make_tiny_store
from tests.transforms.model.builders import linear_head, write_version
from transforms.encoders.litert_model import LiteRTModel
from transforms.encoders.resolve import load_encoder
from transforms.model.directory import ModelDirectory
from transforms.model.head import Head


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(models.main, capsys)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        write_version(tmp_path / "cells" / str(version), linear_head(temperature=float(version)))
    return tmp_path / "cells"


def test_promote_roll_back_and_what_list_and_show_say(cells: Path, run: Run) -> None:
    status, out, _ = run("promote", f"{cells}/1", "--to", "production")
    assert (status, out) == (0, f"{cells}@production names version 1 now (which had none before)\n")
    out = run("promote", cells, "--to", "first", "--input", cells)[1]
    assert out.endswith("(which had none before; there was nothing to compare it with)\n")
    shutil.rmtree(cells / "aliases" / "first")
    assert run("promote", cells, "--to", "production")[1] == f"{cells}@production names version 3 now (before: 1)\n"
    assert run("promote", cells, "--to", "production")[1] == f"{cells}@production names version 3 already\n"
    run("promote", f"{cells}@production", "--to", "canary")
    lines = run("list", cells.parent)[1].splitlines()
    assert lines[0].split() == ["model", "version", "aliases", "accuracy", "encoder", "data", "made", "(UTC)"]
    assert lines[1].split()[1:4] == ["1", "validation", "50.0%"]
    assert "canary, production  validation 50.0%  tiny     tiny-00000000 version 3  2026-01-02 03:04" in lines[3]
    assert run("rollback", f"{cells}@production")[1] == f"{cells}@production names version 1 again (before: 3)\n"
    out = run("show", f"{cells}@production")[1]
    assert out.startswith(f"{cells}/1 (1-")
    assert "aliases: production\n" in out
    assert [line.split()[:2] for line in out.splitlines()[7:11]] == [
        ["canary", "1"],
        ["production", "1"],
        ["production", "2"],
        ["production", "3"],
    ]
    record = json.loads(run("show", f"{cells}@canary", "--json")[1])
    assert (record["version"], record["aliases"], len(record["moves"]["production"])) == (3, ["canary"], 3)


def test_a_damaged_version_is_listed_as_such(cells: Path, run: Run) -> None:
    (cells / "2" / "head.npz").unlink()
    status, out, _ = run("list", cells)
    assert status == 0
    assert "damaged" in out.splitlines()[2]
    assert "2 is half there: head.npz is missing" in out.splitlines()[4]
    status, _, err = run("promote", f"{cells}/2", "--to", "production")
    assert (status, "half there" in err) == (2, True)


def test_nothing_is_rolled_back_onto_a_version_that_is_gone(cells: Path, run: Run) -> None:
    run("promote", f"{cells}/1", "--to", "production")
    run("promote", f"{cells}/2", "--to", "production")
    shutil.rmtree(cells / "1")
    status, _, err = run("rollback", f"{cells}@production")
    assert (status, "does not exist" in err) == (2, True)
    assert ModelDirectory.open(f"{cells}@production").version == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["promote", "MODEL", "--to", "3"], "'3' is no alias"),
        (["promote", "MODEL/9", "--to", "production"], "does not exist"),
        (["promote", "MODEL@staging", "--to", "production"], "no alias 'staging'"),
        (["promote", "MODEL", "--to", "production", "--slice", "x"], "--slice says how --input is compared on"),
        (["promote", "MODEL", "--to", "production", "--largest-loss", "0.1"], "add --input with held-back images"),
        (
            ["promote", "MODEL", "--to", "production", "--input", "x", "--largest-loss", "2"],
            "--largest-loss must be a share",
        ),
        (["rollback", "MODEL"], "rollback takes MODEL@alias"),
        (["rollback", "MODEL@production"], "no alias 'production': it has none"),
        (["list", "MODEL/1"], "holds no model"),
        (["show", "MODEL/nothing"], "does not exist"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(cells: Path, run: Run, words: list[str], message: str) -> None:
    status, out, err = run(*(word.replace("MODEL", str(cells)) for word in words))
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (cells / "aliases").exists()


@pytest.fixture(scope="module")
def two_versions(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 as it was trained; version 2 with its labels exchanged, so that it is wrong where 1 is right."""
    path = tmp_path_factory.mktemp("two") / "shapes"
    for version in ("1", "2"):
        shutil.copytree(model / "1", path / version)
    fields = json.loads((path / "2" / "model.json").read_text())
    head = ModelDirectory.open(str(model)).head
    worse = Head(labels=head.labels[::-1], mean=head.mean, std=head.std, layers=head.layers)
    (path / "2" / "head.npz").write_bytes(worse.to_bytes())
    (path / "2" / "model.json").write_text(json.dumps(fields | {"head": worse.to_json()}))
    return path


@pytest.fixture(scope="module")
def held_back(photos: Path) -> Path:
    """12 images of each label, some of one camera and some of another."""
    path = photos.parent / "held-back.csv"
    files = [file for label in sorted(photos.iterdir()) for file in sorted(label.iterdir())[:12]]
    rows = [f"{file},{file.parent.name},{'ab'[number % 2]}" for number, file in enumerate(files)]
    path.write_text("\n".join(["uri,label,camera", *rows]) + "\n")
    return path


def test_a_candidate_that_is_worse_is_refused_with_the_table(two_versions: Path, held_back: Path, run: Run) -> None:
    assert run("promote", f"{two_versions}/1", "--to", "production")[0] == 0
    words = ("promote", f"{two_versions}/2", "--to", "production", "--input", held_back, "--slice", "camera")
    status, out, err = run(*words)
    assert status == 1, err
    assert "production stays on version 1: version 2 is worse on all images" in err
    lines = out.splitlines()
    assert lines[0] == "version 2 against 1, in percentage points:"
    assert lines[2].split()[:3] == ["all", "images", "24"]
    assert lines[2].endswith("worse")
    assert [line.split()[:4] for line in lines[3:]] == [["camera", "=", name, "12"] for name in "ab"]
    assert ModelDirectory.open(f"{two_versions}@production").version == 1
    assert len(json.loads(run("show", two_versions, "--json")[1])["moves"]["production"]) == 1
    status, _, err = run(*words[:-1], "maker")
    assert (status, "maker" in err, "camera" in err) == (2, True, True)


def test_a_candidate_that_is_better_is_promoted_and_scored_by_its_alias(
    two_versions: Path, held_back: Path, tmp_path: Path, run: Run
) -> None:
    assert run("promote", f"{two_versions}/2", "--to", "canary")[0] == 0
    status, out, _ = run(
        "promote", f"{two_versions}/1", "--to", "canary", "--input", held_back, "--largest-loss", "0.05"
    )
    assert status == 0
    assert out.endswith("canary names version 1 now (before: 2)\n")
    move = json.loads(run("show", two_versions, "--json")[1])["moves"]["canary"][1]
    assert move["check"]["table"][0]["candidate"] > 0.9 > move["check"]["table"][0]["current"]
    words = ["--input", str(held_back), "--model", f"{two_versions}@canary", "--output", str(tmp_path / "scores")]
    assert score.main(words) == 0
    record = json.loads((tmp_path / "scores" / "run.json").read_text())
    assert (record["model"]["path"], record["model"]["alias"]) == (f"{two_versions}/1", "canary")
    assert record["configuration"]["model"] == f"{two_versions}/1"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a hidden layer on an encoder of 8×8 pixels."""
    root = tmp_path_factory.mktemp("tiny")
    vectors = np.random.default_rng(3).normal(size=(50, DIMENSION)).astype(np.float32)
    labels = [[("cat", "dog", "fox")[best]] for best in vectors[:, :3].argmax(axis=1)]
    store = make_tiny_store(root, vectors, labels, (["train"] * 4 + ["validation"]) * 10)
    words = ["--store", str(store), "--model", str(root / "pets"), "--hidden-units", "4"]
    assert train.main([*words, "--train-epochs", "20", "--learning-rate", "0.05", "--no-leak-check"]) == 0
    return root / "pets"


def test_a_whole_model_is_exported_for_litert(tiny: Path, held_back: Path, tmp_path: Path, run: Run) -> None:
    status, out, err = run("export", tiny, "--output", tmp_path / "out" / "pets.tflite", "--input", held_back)
    assert status == 0, err
    assert "on 24 images, 100.0% have the same first label" in out
    described = json.loads((tmp_path / "out" / "pets.json").read_text())
    assert (described["labels"], described["input"]["shape"]) == (["cat", "dog", "fox"], [1, 8, 8, 3])
    assert described["difference"]["images"] == 24
    data = (tmp_path / "out" / "pets.tflite").read_bytes()
    assert hashlib.sha256(data).hexdigest() == described["sha256"]
    model = ModelDirectory.open(str(tiny))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    expected = model.head.probabilities(load_encoder(model.encoder).encode(pixels))
    np.testing.assert_allclose(LiteRTModel(data).probabilities(pixels), expected, atol=1e-5)
    assert np.ptp(expected) > 0.01, "the head answers something"


def test_a_litert_file_that_differs_is_not_written(
    tiny: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Head, "probabilities", lambda self, vectors: np.full((len(vectors), 3), 1, np.float32))
    status, _, err = run("export", tiny, "--output", tmp_path / "pets.tflite")
    assert (status, "nothing is written, use the SavedModel in" in err) == (1, True)
    assert not (tmp_path / "pets.tflite").exists()
    status, _, err = run("export", tiny, "--output", tmp_path / "pets.bin")
    assert (status, "must be a file that ends in .tflite" in err) == (2, True)


def pair(first: int, second: int, rows: int = 100, low: float = -0.5) -> dict[str, Any]:
    from transforms.measures.comparison import mcnemar

    difference = (second - first) / rows
    return {
        "rows": rows,
        "first_accuracy": 0.5,
        "second_accuracy": 0.5 + difference,
        "difference": difference,
        "difference_interval": [low, 0.5],
        "p_value": mcnemar(first, second),
    }


def test_a_slice_alone_can_refuse_and_chance_cannot() -> None:
    def worse(entries: list[dict[str, Any]], **options: float) -> list[bool]:
        slices = {"cell": [{"value": str(n), "small": False, "overall": entry} for n, entry in enumerate(entries)]}
        comparison = {"overall": pair(20, 20), "slices": slices}
        return [row["worse"] for row in judge(comparison, **options)]

    assert worse([pair(12, 1), pair(8, 19)]) == [False, True, False]
    assert worse([pair(8, 1)]) == [False, True]
    assert worse([pair(8, 1), pair(4, 5), pair(4, 5)]) == [False] * 4, "one of three: chance"
    assert worse([pair(1, 12)]) == [False, False]
    assert worse([pair(5, 5, low=-0.01)], largest_loss=0.6) == [False, False]
    assert worse([pair(5, 5, low=-0.01)], largest_loss=0.4) == [True, False]

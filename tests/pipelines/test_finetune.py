from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines import embed, finetune, score, train
from pipelines.training import train_network
from tests.commands import Run, runner
from tests.photographs import write_folder
from tests.pipelines.training.builders import save_tiny_encoder
from transforms.model import aliases
from transforms.model.decision import Decision
from transforms.model.directory import ModelDirectory

SPLIT = ["--split", "60/20/20"]
ENGINE = ["--engine", "tensorflow"]  # needs no conversion
FAST = [*SPLIT, "--train-epochs", "6", "--batch-size", "8", "--learning-rate", "0.003", "--augment", "none"]


def train_head(photos: Path, root: Path, *encoder: str) -> Path:
    assert embed.main(["--input", str(photos), "--store", str(root / "store"), *SPLIT, *ENGINE, *encoder]) == 0
    head = ["--train-epochs", "3", "--l2-regularizer", "1"]  # so weak that there is something to gain
    assert train.main(["--store", str(root / "store"), "--model", str(root / "model"), *head]) == 0
    return root / "model"


@pytest.fixture(scope="module")
def start(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weak head on an encoder of 8×8 pixels with random weights."""
    root = tmp_path_factory.mktemp("start")
    return train_head(photos, root, "--encoder", save_tiny_encoder(root / "tiny.keras"), "--pixel-range=-1,1")


@pytest.fixture(scope="module")
def tuned(start: Path, photos: Path) -> Path:
    assert finetune.main(["--input", str(photos), "--model", str(start), *FAST]) == 0
    return start


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(finetune.main, capsys)


def test_it_begins_with_the_head_and_becomes_better(tuned: Path) -> None:
    before, after = ModelDirectory.open(str(tuned / "1")), ModelDirectory.open(str(tuned))
    assert after.version == 2
    history = after.metrics["fit"]["history"]
    assert history[0]["validation_accuracy"] == before.metrics["validation"]["accuracy"]
    assert after.metrics["fit"]["best_epoch"] > 0
    assert after.metrics["fit"]["validation_loss"] < 0.7 * history[0]["validation_loss"]
    assert after.metrics["test"]["accuracy"] >= before.metrics["test"]["accuracy"]
    assert after.metrics["test"]["log_loss"] < before.metrics["test"]["log_loss"]
    assert after.encoder.fingerprint != before.encoder.fingerprint
    assert after.encoder.preprocessing == before.encoder.preprocessing
    assert after.metrics["served_difference"] < 1e-4
    assert after.data["start"]["model"] == before.path
    assert f"the training began with the model `{before.path}`" in (tuned / "2" / "model_card.md").read_text()


def test_the_report_compares_it_with_the_model_it_began_with(tuned: Path) -> None:
    page = (tuned / "2" / "report.html").read_text()
    before, after = (ModelDirectory.open(str(tuned / version)).metrics["test"] for version in "12")
    (sentence,) = re.findall('<p class="against">(.*)</p>', page)
    assert f"{after['rows']} rows" in sentence
    assert "the model it began with" in sentence
    shares = [f"{100 * found['accuracy']:.1f}% right" for found in (after, before)]
    assert shares[0] in sentence or (sentence.endswith("are the same.") and shares[0] == shares[1])


def test_it_scores_like_any_other(tuned: Path, tmp_path: Path) -> None:
    new = write_folder(tmp_path / "new", per_label=10, first_seed=9000)
    assert score.main(["--input", str(new), "--model", str(tuned), "--output", str(tmp_path / "scores")]) == 0
    lines = [line for path in (tmp_path / "scores").glob("*.jsonl") for line in path.read_text().splitlines()]
    rows = [json.loads(line) for line in lines]
    right = [row["prediction"]["displayNames"][0] in row["instance"]["content"] for row in rows]
    assert len(right) == 20
    assert np.mean(right) >= 0.8


def test_the_stored_features_of_the_start_are_refused(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tuned.parent / "store"
    words = ["--store", str(store), "--model", str(tuned), "--output", str(tmp_path / "scores")]
    assert score.main(words) == 2
    assert ModelDirectory.open(str(tuned)).encoder.fingerprint in capsys.readouterr().err


def test_the_same_training_makes_nothing_new(tuned: Path, photos: Path, run: Run) -> None:
    status, out, _ = run("--input", photos, "--model", tuned, *FAST)
    assert status == 0
    assert "nothing new" in out
    assert "report.html" in out
    assert sorted(path.name for path in tuned.iterdir()) == ["1", "2"]


def test_a_fine_tuned_model_can_be_fine_tuned_and_the_card_makes_the_same_weights(
    tuned: Path, photos: Path, tmp_path: Path, run: Run
) -> None:
    aliases.move(str(tuned), "best", 2, 0, "2026-01-02T03:04:05+00:00")
    words = ["--input", photos, "--start", f"{tuned}@best", "--model", tmp_path / "m", *FAST, "--train-epochs", "2"]
    assert run(*words, "--unfreeze", "1")[0] == 0
    opened = ModelDirectory.open(str(tmp_path / "m"))
    assert opened.data["start"]["model"] == str(tuned / "2")
    card = (tmp_path / "m" / "1" / "model_card.md").read_text()
    words = shlex.split(re.search(r"^    heliograph finetune (.*)$", card, re.MULTILINE).group(1))  # type: ignore[union-attr]
    words[words.index("--model") + 1] = str(tmp_path / "again")
    assert run(*words)[0] == 0
    for name in ("head.npz", "encoder.keras"):
        assert (tmp_path / "again" / "1" / name).read_bytes() == (tmp_path / "m" / "1" / name).read_bytes()
    assert opened.metrics["fit"]["history"][0]["validation_loss"] == pytest.approx(
        ModelDirectory.open(str(tuned / "2")).metrics["fit"]["validation_loss"], rel=1e-3
    )


def test_nothing_is_unfrozen_but_the_head(start: Path, photos: Path, tmp_path: Path, run: Run) -> None:
    from transforms.encoders.golden import golden_images
    from transforms.encoders.resolve import load_encoder

    words = ["--input", photos, "--start", start / "1", "--model", tmp_path / "m", *FAST, "--train-epochs", "2"]
    assert run(*words, "--unfreeze", "0")[0] == 0
    before, after = ModelDirectory.open(str(start / "1")), ModelDirectory.open(str(tmp_path / "m"))
    images = golden_images(before.encoder)
    np.testing.assert_allclose(
        load_encoder(after.encoder).encode(images), load_encoder(before.encoder).encode(images), rtol=1e-4, atol=1e-4
    )
    assert (after.head.layers[0][0] != before.head.layers[0][0]).any()


def test_a_training_that_gains_nothing_publishes_nothing_and_says_so(
    tuned: Path, photos: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--input", photos, "--start", tuned / "2", "--model", tmp_path / "m", *FAST, "--train-epochs", "2"]
    words += ["--l2-regularizer", "100", "--learning-rate", "0.1", "--labels-output-file", tmp_path / "labels"]
    for drawn in ("draw_examples", "report_files"):
        monkeypatch.setattr(train_network, drawn, None)  # nobody would see them
    status, out, err = run(*words)
    assert status == 0
    assert "no epoch was better than what it began with; lower --learning-rate" in err
    kept = f"model: {tuned / '2'}: it began with this one, which stays the best; nothing was published"
    assert out.splitlines()[0] == kept
    assert list((tmp_path / "m").iterdir()) == []
    assert (tmp_path / "labels").read_text().split() == ["disc", "stripes"]
    status, out, err = run(*words, "--json", "--assert-accuracy-at-least", "0.5")
    record, before = json.loads(out), ModelDirectory.open(str(tuned / "2"))
    assert (record["model"], record["made"], record["gained"]) == (before.path, False, False)
    assert record["metrics"]["fit"]["best_epoch"] == 0
    assert record["metrics"]["test"]["accuracy"] == before.metrics["test"]["accuracy"]


def test_a_saved_model_of_tf_hub_is_fine_tuned(photos: Path, tmp_path: Path, run: Run) -> None:
    from tests.pipelines.training.test_networks import save_hub_module

    model = train_head(photos, tmp_path, "--encoder", save_hub_module(tmp_path / "hub"), "--pixel-range=0,1")
    assert run("--input", photos, "--model", model, *FAST)[0] == 0
    opened = ModelDirectory.open(str(model))
    assert opened.encoder.source == str(model / "2" / "encoder")
    assert opened.metrics["fit"]["best_epoch"] > 0
    output = tmp_path / "scores"
    assert score.main(["--input", str(photos), "--model", str(model), "--output", str(output)]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--unfreeze", "most"], "--unfreeze must be all or a number of blocks such as 3, got 'most'"),
        (["--unfreeze", "-1"], "--unfreeze must be all or a number of blocks"),
        (["--unfreeze", "3", *FAST], "--unfreeze 3 is more than the 2 blocks of the encoder; say all"),
        (["--start", "nowhere"], "nowhere is no model directory"),
        (["--image-size", "32"], "neither a flag of ours nor of Beam's"),
        (["--depth", "3"], "neither a flag of ours nor of Beam's"),
    ],
)
def test_mistakes_end_with_one_line(
    start: Path, photos: Path, tmp_path: Path, run: Run, words: list[str], message: str
) -> None:
    given = ["--start", start / "1"] if "--start" not in words else []
    status, _, err = run("--input", photos, "--model", tmp_path / "m", *given, *words)
    assert status == 2
    assert message in err.splitlines()[-1]


def test_thresholds_of_the_start_are_not_taken_over_and_that_is_said(
    start: Path, photos: Path, tmp_path: Path, run: Run
) -> None:
    shutil.copytree(start / "1", tmp_path / "decided" / "1")
    described = tmp_path / "decided" / "1" / "model.json"
    head = dataclasses.replace(ModelDirectory.open(str(start / "1")).head, decision=Decision(none_below=0.1))
    described.write_text(json.dumps({**json.loads(described.read_text()), "head": head.to_json()}))
    words = ["--input", photos, "--start", tmp_path / "decided", "--model", tmp_path / "m", *SPLIT, "--unfreeze", "9"]
    told = "its thresholds are not taken over; give --threshold-for or --none-below for new ones"
    assert told in run(*words)[2]
    assert told not in run(*words, "--none-below", "0.2")[2]


def test_images_of_other_classes_are_refused(start: Path, photos: Path, tmp_path: Path, run: Run) -> None:
    other = write_folder(tmp_path / "other", per_label=3)
    (other / "disc").rename(other / "ring")
    words = ["--input", photos, "--input", other, "--start", start / "1", "--model", tmp_path / "m"]
    status, _, err = run(*words, *SPLIT)
    assert status == 2
    assert "tells 2 classes apart, and the images have ['ring'] too" in err
    (other / "stripes").rename(other / "bars")
    status, _, err = run("--input", other, "--start", start / "1", "--model", tmp_path / "m", *SPLIT)
    assert status == 2
    assert "the images have ['bars', 'ring'] too, and no training image is of ['disc', 'stripes']" in err

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from pipelines import cnn, embed, score, train
from pipelines.training import export, fit_network
from tests.commands import Run, runner
from tests.photographs import write_folder
from tests.pipelines.report.browsing import is_too_wide, serious_findings
from tests.pipelines.report.browsing import opened as opened_page
from transforms.model.directory import ModelDirectory

FAST = ["--image-size", "16x20", "--train-epochs", "6", "--batch-size", "8", "--filters", "8"]
FAST += ["--learning-rate", "0.01", "--augment", "none", "--hidden-units", "16", "--split", "60/20/20"]


@pytest.fixture(scope="module")
def model(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "shapes"
    assert cnn.main(["--input", str(photos), "--model", str(path), *FAST]) == 0
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(cnn.main, capsys)


def test_a_network_from_scratch_tells_discs_from_stripes(model: Path) -> None:
    opened = ModelDirectory.open(str(model))
    assert opened.labels == ("disc", "stripes")
    assert opened.metrics["test"]["accuracy"] >= 0.9
    assert opened.metrics["train"]["accuracy"] >= 0.9
    assert opened.metrics["fit"]["history"][0]["loss"] is None
    assert [epoch["epoch"] for epoch in opened.metrics["fit"]["history"][:2]] == [0, 1]
    assert opened.metrics["served_difference"] < 1e-4
    assert opened.encoder.dimension == 16
    assert (opened.encoder.preprocessing.height, opened.encoder.preprocessing.width) == (16, 20)
    assert [path.name for path in model.iterdir()] == ["1"]  # nothing of the training is left


def test_the_model_scores_like_any_other(model: Path, tmp_path: Path) -> None:
    new = write_folder(tmp_path / "new", per_label=10, first_seed=9000)
    assert score.main(["--input", str(new), "--model", str(model), "--output", str(tmp_path / "scores")]) == 0
    lines = [line for path in (tmp_path / "scores").glob("*.jsonl") for line in path.read_text().splitlines()]
    rows = [json.loads(line) for line in lines]
    right = [row["prediction"]["displayNames"][0] in row["instance"]["content"] for row in rows]
    assert len(right) == 20
    assert np.mean(right) >= 0.9


def test_a_model_that_was_moved_finds_its_encoder(model: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(model, tmp_path / "moved")
    opened = ModelDirectory.open(str(tmp_path / "moved"))
    assert opened.encoder.source == str(tmp_path / "moved" / "1" / "encoder.keras")
    assert opened.encoder.fingerprint == ModelDirectory.open(str(model)).encoder.fingerprint


def test_the_report_is_the_one_of_train_and_shows_what_the_network_sees(browser: Browser, model: Path) -> None:
    report = model / "1" / "report.html"
    metrics = ModelDirectory.open(str(model)).metrics
    with opened_page(browser, report, "dark", 390) as shown:
        assert f"{metrics['test']['accuracy']:.1%} of {metrics['test']['rows']}" in shown.locator("h1").inner_text()
        sections = shown.locator("section").evaluate_all("found => found.map(one => one.id)")
        assert sections[:2] == ["confusion", "calibration"]
        assert sections[-6:] == ["heat", "network", "epochs", "checks", "map", "measured"]
        pictures = {path.name for path in (model / "1" / "pictures").iterdir()}
        assert shown.locator("#network img").count() == len(pictures)
        assert {"heat_0.png", "heat_1.png", "filters.png"} < pictures
        assert shown.locator("#epochs-loss .main-svg").first.is_visible()
        assert not is_too_wide(shown)
    assert serious_findings(browser, report) == []


def test_the_served_model_takes_files(model: Path, photos: Path) -> None:
    import tensorflow as tf

    from transforms.encoders.resolve import load_encoder
    from transforms.images.decode import decode_image

    data = (photos / "disc" / "0000.jpg").read_bytes()
    served = tf.saved_model.load(str(model / "1")).signatures["serving_default"]
    found = served(key=tf.constant(["a"]), image_bytes=tf.constant([data]))
    opened = ModelDirectory.open(str(model))
    pixels = decode_image(data, opened.encoder.preprocessing).pixels[None]
    expected = opened.head.probabilities(load_encoder(opened.encoder).encode(pixels))
    np.testing.assert_allclose(found["scores"], expected, atol=1e-5)


def test_its_encoder_fills_a_store_that_a_head_is_trained_on(model: Path, photos: Path, tmp_path: Path) -> None:
    handle = str(model / "1" / "encoder.keras")
    store = tmp_path / "store"
    words = ["--input", str(photos), "--store", str(store), "--encoder", handle, "--engine", "tensorflow"]
    assert embed.main(words) == 0
    table = next(path.name for path in store.iterdir() if path.is_dir())
    assert table == f"shapes-1-{ModelDirectory.open(str(model)).encoder.fingerprint[:8]}"
    assert train.main(["--store", str(store), "--model", str(tmp_path / "head"), "--train-epochs", "5"]) == 0
    assert ModelDirectory.open(str(tmp_path / "head")).metrics["validation"]["accuracy"] >= 0.9


def test_the_same_training_makes_nothing_new(model: Path, photos: Path, run: Run) -> None:
    status, out, err = run("--input", photos, "--model", model, *FAST)
    assert status == 0
    assert "nothing new" in out
    page = Path(out.splitlines()[-1].split("read ")[1].split(" and ")[0])
    assert page.is_file(), page
    assert "epoch" not in err
    assert [path.name for path in model.iterdir()] == ["1"]


def test_the_command_on_the_card_makes_the_same_weights(model: Path, tmp_path: Path, run: Run) -> None:
    card = (model / "1" / "model_card.md").read_text()
    words = shlex.split(re.search(r"^    heliograph cnn (.*)$", card, re.MULTILINE).group(1))  # type: ignore[union-attr]
    words[words.index("--model") + 1] = str(tmp_path / "again")
    assert run(*words)[0] == 0
    for name in ("head.npz", "encoder.keras"):
        assert (tmp_path / "again" / "1" / name).read_bytes() == (model / "1" / name).read_bytes()
    assert "- 60 images of `" in card


def test_bad_images_are_recorded_in_the_model(photos: Path, tmp_path: Path, run: Run) -> None:
    bad = tmp_path / "bad" / "disc"
    bad.mkdir(parents=True)
    (bad / "x.png").write_bytes(b"no image")
    words = ["--input", photos, "--input", tmp_path / "bad", "--model", tmp_path / "m", *FAST, "--train-epochs", "2"]
    assert run(*words, "--json")[0] == 0
    opened = ModelDirectory.open(str(tmp_path / "m"))
    assert opened.metrics["failed"] == {"UNSUPPORTED_FORMAT": 1}
    assert (tmp_path / "m" / "1" / "errors.parquet").exists()
    status, _, err = run(*words, "--max-failures", "0", "--seed", "1")
    assert status == 1
    assert "1 of 61 images cannot be used, more than --max-failures 0" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--runner", "DirectRunner"], "cnn runs no pipeline, so --runner has no effect; leave it out"),
        (["--image-size", "tiny"], "--image-size must be 224 or HEIGHTxWIDTH"),
        (["--image-size", "8", "--depth", "4"], "--depth 4 halves images of 8x8 to nothing; give at most 3"),
        (["--split", "80"], "--split must be percentages"),
        (["--assert-accuracy-at-least", "80"], "--assert-accuracy-at-least must be in [0, 1]"),
        (["--warm-up-epochs", "9", "--train-epochs", "9"], "--warm-up-epochs must be 0 or more and below"),
        (["--class-weights", "cat=2", *FAST], "--class-weights: 'cat' is no class; there are 'disc', 'stripes'"),
        (["--dropout-rte", "0.1"], "did you mean --dropout-rate?"),
    ],
)
def test_mistakes_end_with_one_line(photos: Path, tmp_path: Path, run: Run, words: list[str], message: str) -> None:
    status, out, err = run("--input", photos, "--model", tmp_path / "m", *words)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert not out


def test_what_is_interrupted_or_misses_its_gate_is_kept(
    photos: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--input", photos, "--model", tmp_path / "m", *FAST, "--train-epochs", "2", "--learning-rate", "1e-6"]
    real = fit_network.save_checkpoint

    def stop(directory: str, fields: dict[str, object], groups: dict[str, Sequence[object]]) -> None:
        if fields["epoch"] == 1:
            real(directory, fields, groups)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_network, "save_checkpoint", stop)
    status, _, err = run(*words)
    assert status == 130
    (left,) = (tmp_path / "m").iterdir()
    goes_on = f"the same command goes on with epoch 1, from the checkpoint in {left}"
    assert err.splitlines()[-1] == f"heliograph: interrupted; {goes_on}"
    monkeypatch.undo()
    status, _, err = run(*words, "--assert-accuracy-at-least", "1")
    assert status == 1
    assert f"going on with epoch 1, from the checkpoint in {left}" in err
    assert "the model is not exported" in err
    status, _, err = run(*words, "--assert-accuracy-at-least", "0")
    assert status == 0
    assert "going on with epoch 3, from the checkpoint" in err
    monkeypatch.setattr(export, "write_labels", lambda *_: stop("", {"epoch": 0}, {}))
    status, _, err = run(*words, "--labels-output-file", tmp_path / "labels")
    assert (status, err.splitlines()[-1]) == (130, f"heliograph: interrupted after {tmp_path}/m/1 was published")


def test_thresholds_are_chosen_for_a_network_as_for_a_head(model: Path, photos: Path, tmp_path: Path, run: Run) -> None:
    words = ["--input", photos, "--model", tmp_path / "m", *FAST, "--train-epochs", "2", "--learning-rate", "1e-4"]
    status, _, err = run(*words, "--threshold-for", "ring:recall=0.9")
    assert (status, "--threshold-for: 'ring' is no class; there are " in err) == (2, True)
    assert "epoch 1" not in err, "it is refused before the training"
    status, _, err = run(*words, "--none-below", "0.6", "--assert-accuracy-at-least", "1")
    assert (status, "the model is not exported" in err) == (1, True)
    status, out, err = run(*words, "--threshold-for", "disc:recall=1", "--none-below", "0.1", "--json")
    assert (status, "going on with epoch 3, from the checkpoint" in err) == (0, True)
    opened, decision = ModelDirectory.open(str(tmp_path / "m")), json.loads(out)["metrics"]["decision"]
    assert decision["validation"]["classes"][0] == {**decision["validation"]["classes"][0], "name": "disc", "recall": 1}
    assert opened.head.decision.thresholds == (decision["thresholds"][0]["threshold"], None)
    assert opened.head.decision.none_below == 0.1
    assert "'disc' from 0." in (tmp_path / "m" / "1" / "model_card.md").read_text()
    assert ModelDirectory.open(str(model)).metrics["decision"] is None


def test_two_at_one_training_do_not_disturb_each_other(photos: Path, tmp_path: Path, run: Run) -> None:
    from pipelines.training.working_directory import working_directory

    words = [
        "--input",
        photos,
        "--model",
        tmp_path / "m",
        *FAST,
        "--assert-accuracy-at-least",
        "1",
        "--train-epochs",
        "2",
    ]
    run(*words, "--learning-rate", "1e-6")
    (left,) = (tmp_path / "m").iterdir()
    with working_directory(str(tmp_path / "m"), None, left.name.removeprefix(".training-")):
        status, _, err = run(*words, "--learning-rate", "1e-6")
    assert status == 1
    assert "another process is at this training" in err

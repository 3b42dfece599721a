from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import train
from pipelines.training import export
from tests.commands import Run, runner
from tests.pipelines.training.builders import make_table, save_tiny_encoder, specification
from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.model.directory import ModelDirectory
from transforms.store.table import FeatureTable

SPLITS = ["train"] * 3 + ["validation", "test"]
LABELS = ("dog", "cat")
FAST = ["--train-epochs", "5", "--learning-rate", "0.02", "--l2-regularizer", "0.01"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> EncoderSpecification:
    return resolve_encoder(save_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny.keras"), pixel_range=(-1, 1))


def fill(store: Path, encoder: EncoderSpecification, **options: Any) -> FeatureTable:
    """100 vectors of two classes that lie apart, 60 to train, 20 to validate, 20 to test on."""
    generator = np.random.default_rng(3)
    targets = np.arange(100) // 5 % 2
    vectors = generator.normal(size=(100, encoder.dimension)).astype(np.float32)
    vectors[:, 0] += 3 * targets
    labels = options.pop("labels", [[LABELS[target]] for target in targets])
    splits = options.pop("splits", SPLITS * 20)
    return make_table(store, vectors, labels, splits, encoder=encoder, **options)


@pytest.fixture(scope="module")
def store(encoder: EncoderSpecification, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store")
    golden = load_encoder(encoder).encode(golden_images(encoder))
    fill(path, encoder, golden=golden)
    return path


@pytest.fixture(scope="module")
def model(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "animals"
    assert train.main(["--store", str(store), "--model", str(path), *FAST]) == 0
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(train.main, capsys)


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_model_directory_holds_all_that_was_promised(model: Path, store: Path, encoder: EncoderSpecification) -> None:
    assert [path.name for path in model.iterdir()] == ["1"]
    names = {name.split("/")[0] for name in snapshot(model / "1")}
    assert names == {
        "saved_model.pb",
        "fingerprint.pb",
        "variables",
        "assets",
        "head.npz",
        "report.html",
        "golden.npy",
        "labels.txt",
        "model.json",
        "metrics.json",
        "config.json",
        "model_card.md",
        "model_card.html",
        "run.json",
    }
    record = json.loads((model / "1" / "run.json").read_text())
    assert record["command"].startswith("heliograph train --store")
    assert record["seconds"] > 0
    assert record["versions"]["tensorflow"] == importlib.metadata.version("tensorflow")
    assert record["examples"] == {"train": 60, "validation": 20, "test": 20}
    opened = ModelDirectory.open(str(model))
    assert opened.labels == ("cat", "dog")
    assert opened.encoder == encoder
    assert (model / "1" / "labels.txt").read_text() == "cat\ndog\n"
    assert opened.data["store"] == str(store)
    assert (opened.data["table"], opened.data["table_version"]) == (encoder.table_name, 1)
    assert opened.data["run_ids"] == ["run"]
    assert opened.config["fit"]["l2_regularizer"] == 0.01


def test_metrics_are_those_of_the_head_on_the_stored_vectors(model: Path, store: Path) -> None:
    from transforms.store.catalog import open_table
    from transforms.store.read import read_features

    opened = ModelDirectory.open(str(model))
    assert opened.metrics["examples"] == {"train": 60, "validation": 20, "test": 20}
    for split in ("validation", "test"):
        features = read_features(open_table(str(store)), splits=[split])
        predicted = opened.head.probabilities(features.embeddings).argmax(axis=1)
        right = np.mean(
            [opened.labels[index] == labels[0] for index, labels in zip(predicted, features.labels, strict=True)]
        )
        assert opened.metrics[split]["accuracy"] == right
        assert opened.metrics[split]["accuracy"] > 0.8
        assert opened.metrics[split]["majority_accuracy"] == 0.5
        assert np.sum(opened.metrics[split]["confusion_matrix"]["rows"]) == 20
    scaling = opened.metrics["temperature_scaling"]
    assert scaling["temperature"] == opened.head.temperature
    assert scaling["nll_after"] <= scaling["nll_before"]
    assert opened.metrics["served_difference"] < 1e-5


def test_the_card_says_what_a_person_needs(model: Path, store: Path) -> None:
    card = (model / "1" / "model_card.md").read_text()
    assert card.startswith("# animals, version 1\n")
    for heading in ("Intended use", "Data", "Metrics", "Limits", "How to call it", "How to make it again"):
        assert f"\n## {heading}\n" in card
    metrics = json.loads((model / "1" / "metrics.json").read_text())
    assert f"| accuracy | {metrics['validation']['accuracy']:.3f} | {metrics['test']['accuracy']:.3f} |" in card
    assert "- 60 training, 20 validation and 20 test vectors" in card
    assert "fails the whole call" in card
    assert f"    heliograph train --store {store} --model {model} --version 1 --l2-regularizer 0.01" in card


def test_the_card_tells_metrics_per_slice_and_is_a_page_too(
    encoder: EncoderSpecification, store: Path, tmp_path: Path, run: Run
) -> None:
    golden = load_encoder(encoder).encode(golden_images(encoder))
    cameras = [{"camera": "<b>" if number % 3 else "b", "serial": str(number)} for number in range(100)]
    fill(tmp_path / "store", encoder, golden=golden, attributes=cameras)
    assert run("--store", tmp_path / "store", "--model", tmp_path / "m", *FAST)[0] == 0
    opened = ModelDirectory.open(str(tmp_path / "m"))
    slices = opened.metrics["slices"]
    assert (slices["split"], list(slices["attributes"])) == ("test", ["camera"])
    entries = {entry["value"]: entry for entry in slices["attributes"]["camera"]}
    assert {value: entry["rows"] for value, entry in entries.items()} == {"<b>": 13, "b": 7}
    right = sum(entry["accuracy"] * entry["rows"] for entry in entries.values())
    assert right == pytest.approx(20 * opened.metrics["test"]["accuracy"])
    card = (tmp_path / "m" / "1" / "model_card.md").read_text()
    assert f"| camera = b | 7 | {entries['b']['accuracy']:.3f} |" in card
    page = (tmp_path / "m" / "1" / "model_card.html").read_text()
    assert "<h1>m, version 1</h1>" in page
    assert "<td>camera = &lt;b&gt;</td>" in page
    assert "heliograph train --store" in page


def test_the_command_on_the_card_makes_the_same_weights(model: Path, tmp_path: Path, run: Run) -> None:
    card = (model / "1" / "model_card.md").read_text()
    words = re.search(r"^    heliograph train (.*)$", card, re.MULTILINE).group(1).split()  # type: ignore[union-attr]
    words[words.index("--model") + 1] = str(tmp_path / "again")
    assert run(*words)[0] == 0
    assert (tmp_path / "again" / "1" / "head.npz").read_bytes() == (model / "1" / "head.npz").read_bytes()


def test_the_same_training_makes_nothing_new_and_says_so(model: Path, store: Path, run: Run) -> None:
    before = snapshot(model)
    status, out, err = run("--store", store, "--model", model, *FAST)
    assert (status, err) == (0, "")
    assert out.startswith(f"model: {model}/1: nothing new, the same data and configuration made it before\n")
    assert snapshot(model) == before


def test_another_configuration_or_version_of_the_data_makes_a_new_version(
    encoder: EncoderSpecification, store: Path, tmp_path: Path, run: Run
) -> None:
    golden = load_encoder(encoder).encode(golden_images(encoder))
    fill(tmp_path / "store", encoder, golden=golden)
    target = ["--store", tmp_path / "store", "--model", tmp_path / "m", *FAST]
    made = [json.loads(run(*target, *more, "--json")[1]) for more in ((), ("--seed", "1"), ("--seed", "0"))]
    assert [(record["version"], record["made"]) for record in made] == [(1, True), (2, True), (1, False)]
    fill(tmp_path / "store", encoder, golden=golden, run_id="more")
    newer = json.loads(run(*target, "--json")[1])
    older = json.loads(run(*target, "--version", "1", "--json")[1])
    assert (newer["version"], newer["data"]["run_ids"]) == (3, ["more", "run"])
    assert newer["metrics"]["examples"]["train"] == 120
    assert (older["version"], older["made"]) == (1, False)


def test_what_is_printed_is_for_a_person_or_a_program(model: Path, store: Path, run: Run) -> None:
    _, out, _ = run("--store", store, "--model", model, *FAST)
    lines = out.splitlines()
    assert lines[1] == "2 labels: cat, dog"
    assert re.fullmatch(
        r"validation: accuracy [\d.]+ \(95 % interval .*, majority class 0\.500\) on 20 images", lines[2]
    )
    assert re.fullmatch(r"test: accuracy [\d.]+ \(.*\) on 20 images", lines[3])
    record = json.loads(run("--store", store, "--model", model, *FAST, "--json")[1])
    assert record["labels"] == ["cat", "dog"]
    assert record["metrics"] == ModelDirectory.open(str(model)).metrics


def test_the_gate_exports_nothing(store: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "report_files", None)  # nobody would see it
    status, out, err = run(
        "--store", store, "--model", tmp_path / "m", "--class-weights", "cat=1000", "--train-epochs", "1",
        "--l2-regularizer", "0", "--assert-accuracy-at-least", "0.9", "--labels-output-file", tmp_path / "labels",
    )  # fmt: skip
    assert (status, out) == (1, "")
    assert re.fullmatch(
        r"heliograph: accuracy 0\.\d+ on the test split \(20 images\) is below --assert-accuracy-at-least 0\.9; "
        r"the model is not exported\n",
        err,
    )
    assert list(tmp_path.iterdir()) == []


def test_the_gate_holds_for_a_model_that_is_there_already(model: Path, store: Path, run: Run) -> None:
    accuracy = ModelDirectory.open(str(model)).metrics["test"]["accuracy"]
    assert run("--store", store, "--model", model, *FAST, "--assert-accuracy-at-least", accuracy)[0] == 0
    if accuracy < 1:
        assert run("--store", store, "--model", model, *FAST, "--assert-accuracy-at-least", "1")[0] == 1


def test_labels_are_written_where_they_are_asked_for(model: Path, store: Path, tmp_path: Path, run: Run) -> None:
    assert run("--store", store, "--model", model, *FAST, "--labels-output-file", tmp_path / "l.txt")[0] == 0
    assert (tmp_path / "l.txt").read_text() == "cat\ndog\n"


def test_a_sweep_and_a_learning_curve_are_saved_shown_and_repeatable(store: Path, tmp_path: Path, run: Run) -> None:
    words = ["--store", store, "--model", tmp_path / "m", "--train-epochs", "8", "--learning-curve", "--sweep", "grid"]
    words += ["--sweep-values", "hidden-units=0", "--sweep-values", "l2-regularizer=0.1,0.01", "--sweep-folds", "2"]
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    assert "sweep: 8 configurations on 2 folds in" in out
    assert "learning curve: accuracy on the test split" in out
    model = ModelDirectory.open(str(tmp_path / "m"))
    assert len((tmp_path / "m" / "1" / "sweep.csv").read_text().splitlines()) == 9
    curve = json.loads((tmp_path / "m" / "1" / "learning_curve.json").read_text())
    assert curve == model.metrics["learning_curve"]
    assert model.metrics["sweep"]["chosen"]["l2_regularizer"] == model.metrics["fit"]["attempts"][0]["l2_regularizer"]
    card = (tmp_path / "m" / "1" / "model_card.md").read_text()
    assert "## What more labels may buy" in card
    assert "--sweep grid --sweep-values hidden-units=0 --sweep-values l2-regularizer=0.1,0.01 --sweep-folds 2" in card
    assert run(*words)[1].startswith(f"model: {tmp_path}/m/1: nothing new")


def test_above_the_memory_limit_features_are_streamed(store: Path, tmp_path: Path, run: Run) -> None:
    words = ["--store", store, "--model", tmp_path / "m", *FAST, "--memory-limit", "0.000001"]
    status, _, err = run(*words)
    assert status == 0
    assert "were streamed; leaks, sweeps and learning curves were left out" in err
    model = ModelDirectory.open(str(tmp_path / "m"))
    assert model.metrics["test"]["accuracy"] > 0.8
    assert model.metrics["examples"]["train"] == 60
    assert "--memory-limit 1e-06" in (tmp_path / "m" / "1" / "model_card.md").read_text()
    assert ": nothing new" in run(*words)[1]
    status, _, err = run(*words, "--learning-curve")
    assert (status, err.count("\n")) == (2, 1)
    assert "--learning-curve needs the features in memory" in err


def test_a_model_that_cannot_be_exported_is_not_half_there(
    store: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "save_served_model", fail)
    status, _, err = run("--store", store, "--model", tmp_path / "m", *FAST)
    assert status == 1
    assert "cannot be written: No space left on device" in err
    assert list((tmp_path / "m").iterdir()) == []


def test_ctrl_c_says_whether_the_version_is_there(
    store: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    words = ["--store", store, "--model", tmp_path / "m", *FAST, "--labels-output-file", tmp_path / "labels"]
    with monkeypatch.context() as patch:
        patch.setattr(export, "save_served_model", interrupt)
        status, _, err = run(*words)
    assert (status, err.splitlines()[-1]) == (130, "heliograph: interrupted; nothing was published")
    monkeypatch.setattr(export, "write_labels", interrupt)
    status, _, err = run(*words)
    assert (status, err.splitlines()[-1]) == (130, f"heliograph: interrupted after {tmp_path}/m/1 was published")
    assert ModelDirectory.open(str(tmp_path / "m" / "1")).version == 1


def test_vectors_of_another_encoder_are_noticed(encoder: EncoderSpecification, tmp_path: Path, run: Run) -> None:
    fill(tmp_path / "store", encoder, golden=np.ones((6, encoder.dimension), np.float32))
    status, _, err = run("--store", tmp_path / "store", "--model", tmp_path / "m", *FAST)
    assert status == 1
    assert "off those of the stored vectors" in err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [[]] * 100}, "has no labelled image"),
        ({"labels": [["cat"]] * 100}, "has one class only, 'cat'; a head needs two or more"),
        ({"splits": ["test"] * 100}, "the training split of .* is empty"),
    ],
)
def test_a_store_that_cannot_be_trained_on_is_one_line(
    options: dict[str, Any], message: str, tmp_path: Path, run: Run
) -> None:
    fill(tmp_path / "store", specification(), **options)
    status, out, err = run("--store", tmp_path / "store", "--model", tmp_path / "m")
    assert (status, out) == (2, "")
    assert re.search(message, err)
    assert err.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_a_class_outside_training_and_missing_labels_are_told(
    encoder: EncoderSpecification, tmp_path: Path, run: Run
) -> None:
    labels = [[LABELS[number // 5 % 2]] for number in range(100)]
    labels[0], labels[4], labels[9] = [], ["fox"], ["fox"]
    golden = load_encoder(encoder).encode(golden_images(encoder))
    fill(tmp_path / "store", encoder, labels=labels, golden=golden)
    status, _, err = run("--store", tmp_path / "store", "--model", tmp_path / "m", *FAST)
    assert status == 0
    assert err == (
        "heliograph: note: 1 of 60 images of the train split have no label and are left out\n"
        "heliograph: note: 2 images of the test split are of 'fox', which no training image is; they count as wrong\n"
    )
    metrics = ModelDirectory.open(str(tmp_path / "m")).metrics
    assert metrics["test"]["rows"] == 20
    assert metrics["test"]["accuracy"] <= 0.9
    assert len(metrics["warnings"]) == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--dropout-rate", "1.5"], r"--dropout-rate must be in \[0, 1\), got 1\.5"),
        (["--class-weights", "cow=2"], "'cow' is no class; there are 'cat', 'dog'"),
        (["--assert-accuracy-at-least", "80"], r"must be in \[0, 1\], such as 0\.8, got 80"),
        (["--sweep-folds", "3"], "--sweep-folds needs --sweep"),
        (["--sweep", "grid", "--l2-regularizer", "1", "--sweep-values", "l2-regularizer=1"], "fixes what --sweep-val"),
        (["--solver", "direct", "--hidden-units", "8"], "direct fits the plain head only; leave out --hidden-units"),
        (["--labels-per-image", "two"], "invalid choice: 'two'"),
        (["--version", "7"], "has no version 7"),
        (["--encoder-table", "resnet"], "has no table of 'resnet'"),
        (["--runner", "DirectRunner"], "train runs no pipeline, so --runner has no effect"),
        (["--drop-out-rate", "0.5"], "did you mean --dropout-rate"),
        (["--epochs", "0.5"], "--epochs is neither"),
    ],
)
def test_a_wrong_call_is_one_line_and_makes_nothing(
    argv: list[str], message: str, store: Path, tmp_path: Path, run: Run
) -> None:
    status, out, err = run("--store", store, "--model", tmp_path / "m", *argv)
    assert (status, out) == (2, "")
    assert re.search(message, err), err
    assert err.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_stores_and_models_that_are_none(store: Path, model: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("")
    for argv, message in (
        (["--store", tmp_path / "nothing", "--model", tmp_path / "m"], "does not exist"),
        (["--store", tmp_path, "--model", tmp_path / "m"], "is no store"),
        (["--store", store, "--model", tmp_path / "file"], "is a file; name a directory"),
        (["--store", store, "--model", model / "1"], "is one version of a model"),
        (["--store", store], "--model"),
    ):
        status, _, err = run(*argv)
        assert status == 2
        assert message in err


def test_several_tables_must_be_told_apart(encoder: EncoderSpecification, tmp_path: Path, run: Run) -> None:
    golden = load_encoder(encoder).encode(golden_images(encoder))
    fill(tmp_path / "store", encoder, golden=golden)
    fill(tmp_path / "store", specification(name="other"))
    status, _, err = run("--store", tmp_path / "store", "--model", tmp_path / "m")
    assert status == 2
    assert encoder.table_name in err
    assert "other-" in err
    named = ["--store", tmp_path / "store", "--model", tmp_path / "m", "--encoder-table", encoder.table_name]
    assert run(*named, *FAST)[0] == 0
    assert f"--encoder-table {encoder.table_name}" in (tmp_path / "m" / "1" / "model_card.md").read_text()


def test_without_a_validation_split_some_training_images_are_held_out(
    encoder: EncoderSpecification, tmp_path: Path, run: Run
) -> None:
    golden = load_encoder(encoder).encode(golden_images(encoder))
    fill(tmp_path / "store", encoder, golden=golden, splits=(["train"] * 4 + ["test"]) * 20)
    status, _, err = run("--store", tmp_path / "store", "--model", tmp_path / "m", *FAST)
    assert status == 0
    assert err == "heliograph: note: the table has no validation split: 12 of 80 training images are held out for it\n"
    metrics = ModelDirectory.open(str(tmp_path / "m")).metrics
    assert metrics["examples"] == {"train": 68, "validation": 12, "test": 20}
    assert metrics["held_out"]

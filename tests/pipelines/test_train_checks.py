"""``heliograph train`` as a whole: what it looks for in the data, and what it chooses beside the weights."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines import score, train
from tests.commands import Run, runner
from tests.pipelines.training.builders import make_tiny_store
from transforms.model.decision import NONE_OF_THESE
from transforms.model.directory import ModelDirectory

FAST = ["--train-epochs", "5", "--learning-rate", "0.02", "--l2-regularizer", "0.01"]


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 vectors of two classes, 60 to train, 20 to validate, 20 to test on; two of test are copies of training."""
    path = tmp_path_factory.mktemp("checks")
    generator = np.random.default_rng(3)
    targets = np.arange(100) // 5 % 2
    vectors = generator.normal(size=(100, 48)).astype(np.float32)
    vectors[:, 0] += 4 * targets
    vectors[4], vectors[14] = vectors[0], vectors[10] + 0.01
    labels = [[("dog", "cat")[target]] for target in targets]
    splits = (["train"] * 3 + ["validation", "test"]) * 20
    return make_tiny_store(path, vectors, labels, splits)


@pytest.fixture
def run(copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(train.main, capsys, "--store", copies, "--model", tmp_path / "m", *FAST)


def test_leaks_are_told_and_fixed_and_the_accuracy_stands_before_and_after(run: Run, tmp_path: Path) -> None:
    status, out, err = run()
    assert status == 0
    assert err == (
        "heliograph: note: 2 of 20 test images are in another split too, or nearly (cosine 0.985; 0 exactly), which "
        "makes accuracies too good: see leaks.html in the model, and --fix-leaks\n"
    )
    assert "on 2 test images" in out
    found = ModelDirectory.open(str(tmp_path / "m" / "1"))
    assert (found.metrics["leaks"]["test"], found.metrics["leaks"]["moved"]) == (2, 0)
    assert set(found.metrics["leaks"]["test_accuracy"]) == {"leaking", "others"}
    assert (tmp_path / "m" / "1" / "leaks.csv").read_text().count("\n") == 3

    status, out, err = run("--fix-leaks")
    assert "2 images were moved to the other side" in err
    fixed = ModelDirectory.open(str(tmp_path / "m" / "2"))
    assert fixed.metrics["examples"] == {"train": 62, "validation": 20, "test": 18}
    before = fixed.metrics["leaks"]["test_accuracy_before"]
    assert before == found.metrics["test"]["accuracy"]
    line = f"test accuracy before 2 leaking images were moved: {before:.3f}"
    assert line in out
    card = (tmp_path / "m" / "2" / "model_card.md").read_text()
    assert line in card
    assert " --fix-leaks\n" in card  # the command that makes it again


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--no-leak-check", "--fix-leaks"], "--no-leak-check looks for nothing, so --fix-leaks has no effect"),
        (["--leak-threshold", "2"], "--leak-threshold must be in [0.5, 1]"),
        (["--threshold-for", "cow:recall=0.9"], "'cow' is no class; there are 'cat', 'dog'"),
        (["--none-below", "1.5"], "--none-below: 1.5 must be in (0, 1]"),
    ],
)
def test_a_combination_that_cannot_work_is_one_line(argv: list[str], message: str, run: Run, tmp_path: Path) -> None:
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert message in err.splitlines()[-1]
    assert not (tmp_path / "m").exists()


def test_images_features_and_the_served_model_get_the_same_answers(
    photos: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default encoder's store of drawn photographs, with thresholds that leave about half of them out."""
    import tensorflow as tf

    target, label = tmp_path / "m", sorted(path.name for path in photos.iterdir())[0]
    goals = ["--threshold-for", f"{label}:precision=0.9", "--none-below", "coverage=0.5"]
    unsure = ["--solver", "adam", "--learning-rate", "0.0001", "--train-epochs", "1"]
    assert train.main(["--store", str(store), "--model", str(target), "--no-leak-check", *FAST, *unsure, *goals]) == 0
    assert f"{label!r} from " in capsys.readouterr().out
    assert ModelDirectory.open(str(target)).metrics["leaks"] is None
    assert "none of these below" in (target / "1" / "model_card.md").read_text()
    answers = []
    for number, source in enumerate((["--input", str(photos)], ["--store", str(store)])):
        output = tmp_path / str(number)
        assert score.main([*source, "--model", str(target), "--output", str(output), "--format", "parquet,csv"]) == 0
        rows = pq.read_table(sorted(output.glob("predictions_*.parquet"))[0]).to_pylist()
        answers.append({row["image_uri"]: (row["predicted"] or [NONE_OF_THESE])[0] for row in rows})
        with next(output.glob("predictions_*.csv")).open() as lines:
            assert {row["image_uri"]: row["prediction"] for row in csv.DictReader(lines)} == answers[-1]
    uris = sorted(answers[0])
    assert answers[0] == answers[1]
    assert len(uris) == 60
    served = tf.saved_model.load(str(target / "1")).signatures["serving_default"]
    found = served(key=tf.constant(uris), image_bytes=tf.constant([Path(uri).read_bytes() for uri in uris]))
    assert [text.decode() for text in found["prediction"].numpy()] == [answers[0][uri] for uri in uris]
    assert 15 < list(answers[0].values()).count(NONE_OF_THESE) < 45

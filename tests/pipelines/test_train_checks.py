"""``heliograph train`` as a whole: what it looks for in the data, and what it chooses beside the weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines import train
from tests.pipelines.training.builders import make_table, save_tiny_encoder
from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.model.directory import ModelDirectory

FAST = ["--train-epochs", "5", "--learning-rate", "0.02", "--l2-regularizer", "0.01"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 vectors of two classes, 60 to train, 20 to validate, 20 to test on; two of test are copies of training."""
    path = tmp_path_factory.mktemp("checks")
    encoder = resolve_encoder(save_tiny_encoder(path / "tiny.keras", dimension=48), pixel_range=(-1, 1))
    generator = np.random.default_rng(3)
    targets = np.arange(100) // 5 % 2
    vectors = generator.normal(size=(100, 48)).astype(np.float32)
    vectors[:, 0] += 4 * targets
    vectors[4], vectors[14] = vectors[0], vectors[10] + 0.01
    labels = [[("dog", "cat")[target]] for target in targets]
    splits = (["train"] * 3 + ["validation", "test"]) * 20
    golden = load_encoder(encoder).encode(golden_images(encoder))
    make_table(path / "store", vectors, labels, splits, encoder=encoder, golden=golden)
    return path / "store"


@pytest.fixture
def run(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: object) -> tuple[int, str, str]:
        words = ["--store", store, "--model", tmp_path / "m", *FAST, *argv]
        status = train.main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


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

    status, _, err = run("--no-leak-check")
    assert (status, err) == (0, "")
    assert json.loads((tmp_path / "m" / "3" / "metrics.json").read_text())["leaks"] is None
    assert not (tmp_path / "m" / "3" / "leaks.html").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--no-leak-check", "--fix-leaks"], "--no-leak-check looks for nothing, so --fix-leaks has no effect"),
        (["--leak-threshold", "2"], "--leak-threshold must be in [0.5, 1]"),
    ],
)
def test_a_combination_that_cannot_work_is_one_line(argv: list[str], message: str, run: Run, tmp_path: Path) -> None:
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "m").exists()

"""Remedies of a gap between subgroups, from the command line to the predictions."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines import score, train
from tests.commands import Run, runner
from tests.pipelines.training.builders import make_tiny_store
from transforms.model.directory import ModelDirectory

FAST = ["--train-epochs", "40", "--learning-rate", "0.02", "--l2-regularizer", "0.001", "--no-leak-check"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,200 vectors of bad and good under two lamps; in training the lamp goes with the label."""
    path = tmp_path_factory.mktemp("remedies")
    generator = np.random.default_rng(3)
    splits = np.array(["train", "train", "validation", "test"] * 300)
    bad = generator.random(1200) < 0.5
    warm = np.where(splits == "train", bad ^ (generator.random(1200) < 0.05), generator.random(1200) < 0.5)
    vectors = generator.normal(size=(1200, 6)).astype(np.float32)
    vectors[:, 0] += 2.0 * bad
    vectors[:, 1] += 2.0 * warm
    attributes = [{"lamp": "warm" if value else "cool"} for value in warm]
    for row in range(0, 1200, 40):
        attributes[row + 3] = {}
    labels = [["bad" if value else "good"] for value in bad]
    return make_tiny_store(path, vectors, labels, splits, attributes=attributes)


@pytest.fixture
def run(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(train.main, capsys, "--store", store, "--model", tmp_path / "m", *FAST)


def test_each_remedy_closes_the_gap_and_tells_so(run: Run, store: Path, tmp_path: Path) -> None:
    flags = ["--rebalance=lamp", "--mindiff=lamp:warm", "--mindiff-weight=1.0", "--slice-thresholds=lamp"]
    status, out, err = run(*flags, "--positive-label=bad")
    assert status == 0, err
    model = ModelDirectory.open(str(tmp_path / "m" / "1"))
    remedies = model.metrics["remedies"]
    validation, test = remedies["before_and_after"]
    assert (validation["split"], test["split"], test["attribute"], test["label"]) == (
        "validation",
        "test",
        "lamp",
        "bad",
    )
    names = ["without", "--rebalance", "and --mindiff", "and --slice-thresholds"]
    assert [stage["name"] for stage in test["stages"]] == names
    before, *after = test["stages"]
    assert before["false_positive_rate_gap"]["value"] > 0.2
    for stage in after:
        assert stage["false_positive_rate_gap"]["value"] < before["false_positive_rate_gap"]["value"] / 2
        assert stage["accuracy"]["value"] > before["accuracy"]["value"]
    low, high = test["change"]["false_positive_rate_gap"]["interval"]
    assert low < test["change"]["false_positive_rate_gap"]["value"] < high < 0
    warm = {cell["label"]: cell for cell in remedies["rebalance"]["cells"] if cell["value"] == "warm"}
    assert warm["good"]["weight"] > 3 > 1 > warm["bad"]["weight"]
    assert "before and after: 'bad' by lamp, 300 test images\n" in out
    assert "and --slice-thresholds" in out
    card = (tmp_path / "m" / "1" / "model_card.md").read_text()
    assert "## Remedies, before and after" in card
    assert "| without |" in card
    again = next(line.strip() for line in card.splitlines() if line.startswith("    heliograph train"))
    assert "--mindiff-weight=1.0" in again
    assert all(flag in again for flag in flags)
    assert train.main([*shlex.split(again)[2:], "--json"]) == 0
    assert not (tmp_path / "m" / "2").exists(), "the same call, from the card, makes the same model"


def test_thresholds_of_slices_are_applied_by_score_and_the_common_one_elsewhere(
    run: Run, store: Path, tmp_path: Path
) -> None:
    assert run("--slice-thresholds", "lamp", "--positive-label", "bad")[0] == 0
    model = ModelDirectory.open(str(tmp_path / "m" / "1"))
    decision = model.head.decision
    assert decision.slices is not None
    assert set(decision.slices.thresholds) == {"cool", "warm"}
    assert decision.slices.thresholds["warm"] > decision.thresholds[0] > decision.slices.thresholds["cool"]
    argv = ["--store", str(store), "--model", str(tmp_path / "m"), "--output", str(tmp_path / "p")]
    assert score.main([*argv, "--format", "parquet"]) == 0
    (file,) = (tmp_path / "p").glob("predictions_*.parquet")
    rows, used = pq.read_table(file).to_pylist(), set()
    for row in rows:
        value = dict(row["attributes"]).get("lamp", "")
        used.add(value)
        limit = decision.slices.thresholds.get(value, decision.thresholds[0])
        bad = dict(zip(row["displayNames"], row["confidences"], strict=True))["bad"]
        assert row["predicted"] == ["bad" if bad >= np.float32(limit) else "good"]
    assert used == {"", "cool", "warm"}
    card = (tmp_path / "m" / "1" / "model_card.md").read_text()
    assert (
        f"the served model, which sees no attributes, and images with another value: from {decision.thresholds[0]:.3f}"
        in card
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--mindiff", "lamp"], "--mindiff must be ATTRIBUTE:VALUE or ATTRIBUTE:VALUE,VALUE, got 'lamp:'"),
        (
            ["--mindiff", "lamp:warm", "--mindiff-weight", "-1"],
            "--mindiff-weight must be positive, such as 1.5, got -1",
        ),
        (["--mindiff-weight", "2"], "--mindiff-weight has no effect without --mindiff ATTRIBUTE:VALUE"),
        (["--mindiff-on", "positives"], "--mindiff-on has no effect without --mindiff"),
        (["--mindiff", "lamp:warm", "--solver", "direct"], "--solver direct knows no --mindiff; leave --solver out"),
        (["--mindiff", "lamp:warm", "--learning-curve"], "--learning-curve fits heads without --mindiff"),
        (["--mindiff", "lamp:hot"], "0 training images with the value are negatives of the class, and 10 are needed"),
        (["--rebalance", ""], "--rebalance must name an attribute, a column of the manifest, got ''"),
        (["--rebalance", "camera"], "no training image has the attribute 'camera'; there are 'lamp'"),
        (["--positive-label", "bad"], "--positive-label has no effect without --rebalance"),
        (["--slice-thresholds", "lamp", "--positive-label", "ugly"], "'ugly' is no class; there are 'bad', 'good'"),
        (["--rebalance", "lamp", "--labels-per-image", "several"], "--rebalance is for one label an image"),
        (["--rebalance", "lamp", "--memory-limit", "0.000001"], "--rebalance needs the features in memory"),
    ],
)
def test_what_cannot_work_is_refused_with_its_remedy(run: Run, argv: list[str], message: str) -> None:
    status, _, err = run(*argv)
    assert status == 2
    assert message in err


def test_defaults_are_as_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    for flag, default in (
        ("--rebalance ATTRIBUTE", "none"),
        ("--mindiff-weight W", "1.5"),
        ("--mindiff-kernel gaussian\\|laplacian", "gaussian"),
        ("--mindiff-on negatives\\|positives", "negatives"),
        ("--slice-thresholds ATTRIBUTE", "none"),
        ("--positive-label LABEL", "the second of two"),
    ):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{flag}")]
        assert row.endswith(f"| {default} |"), row
    flags = vars(train._parser().parse_args(["--store", "s", "--model", "m"]))
    assert json.dumps([flags[name] for name in ("rebalance", "mindiff", "mindiff_weight", "slice_thresholds")]) == (
        "[null, null, null, null]"
    )

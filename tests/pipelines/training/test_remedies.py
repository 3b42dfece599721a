"""What the remedies do about a planted bias; benchmarks/planted_bias.py does it with the encoder, over five seeds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from benchmarks.planted_bias import REMEDIES, draw_set, figures
from benchmarks.planted_bias import describe as statistics_of
from pipelines.training.features import Examples, Splits
from pipelines.training.fit_settings import FitSettings
from pipelines.training.lab import LabSettings
from pipelines.training.outcome import _fit_splits, _remedied
from pipelines.training.remedies import compare
from pipelines.training.slice_thresholds import equalise, threshold_at
from pipelines.training.thresholds import ThresholdSettings
from transforms.model.head import Head

SIZES = {"train": 800, "validation": 600, "test": 800}
FIT = FitSettings(l2_regularizer=0.001, learning_rate=0.02, train_epochs=60)


def splits_of(seed: int) -> Splits:
    parts = {name: [one for one in draw_set(seed, SIZES, edge=32) if one.split == name] for name in SIZES}
    examples = {
        name: Examples(
            vectors=np.stack([statistics_of(one.pixels) for one in part]),
            targets=np.array([one.label == "sound" for one in part], np.int32),
            attributes=[{"lamp": one.lamp} for one in part],
        )
        for name, part in parts.items()
    }
    return Splits(
        labels=("cracked", "sound"),
        foreign_labels=(),
        **examples,
        folds=np.zeros(SIZES["train"], np.int64),
        keys=(),
        held_out=False,
        warnings=(),
    )


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list[tuple[dict[str, float], dict[str, float]]]]:
    """Figures of the test split before and after, of each remedy and seed."""
    found: dict[str, list[Any]] = {name: [] for name in REMEDIES}
    for seed in (0, 2):
        splits = splits_of(seed)
        for name, remedies in REMEDIES.items():
            result, head, _ = _fit_splits(splits, FIT, LabSettings(), remedies)
            _, told = _remedied(splits, result.settings, head, ThresholdSettings(), remedies)
            assert told is not None
            stages = told["before_and_after"][-1]["stages"]
            found[name].append((figures(stages[0]), figures(stages[-1])))
    return found


@pytest.mark.parametrize("name", REMEDIES)
def test_the_gap_falls_by_half_and_accuracy_costs_two_points_at_most(name: str, outcomes: dict[str, Any]) -> None:
    for before, after in outcomes[name]:
        assert before["gap"] > 0.2, "the planted bias"
        assert after["gap"] <= before["gap"] / 2
        assert after["accuracy"] >= before["accuracy"] - 0.02


def small_head(**weights: float) -> Head:
    vectors = np.array([[0.0, weights["score"]]], np.float32)
    return Head(
        labels=("a", "b"),
        mean=np.zeros(1, np.float32),
        std=np.ones(1, np.float32),
        layers=((vectors, np.zeros(2, np.float32)),),
    )


def rows(values: list[str], scores: list[float], targets: list[int]) -> Examples:
    return Examples(
        vectors=np.array(scores, np.float32)[:, None],
        targets=np.array(targets, np.int32),
        attributes=[{"lamp": value} if value else {} for value in values],
    )


def test_figures_are_counts_of_the_answers() -> None:
    # 40 negatives under each lamp: 10 and 2 are called positive; 40 positives each, of which 4 are missed
    values = ["cool"] * 80 + ["warm"] * 80 + [""] * 2
    lamp = [1.0] * 2 + [-1.0] * 38 + [1.0] * 36 + [-1.0] * 4
    scores = lamp + [1.0] * 10 + [-1.0] * 30 + [1.0] * 36 + [-1.0] * 4 + [1.0, 1.0]
    examples = rows(values, scores, ([0] * 40 + [1] * 40) * 2 + [0, 1])
    found = compare([("without", small_head(score=1.0)), ("turned", small_head(score=-1.0))], examples, "lamp", 1)
    before, after = found["stages"]
    assert [slice_["false_positive_rate"]["value"] for slice_ in before["slices"]] == [0.05, 0.25]
    assert before["false_positive_rate_gap"]["value"] == pytest.approx(0.2)
    assert before["false_negative_rate_gap"]["value"] == pytest.approx(0.0)
    assert before["accuracy"]["value"] == pytest.approx((162 - 12 - 8 - 1) / 162)
    assert after["false_positive_rate_gap"]["value"] == pytest.approx(0.2)
    assert found["change"]["accuracy"]["value"] == pytest.approx(1 - 2 * (162 - 21) / 162)
    assert found["slices"] == [
        {"value": "cool", "negatives": 40, "positives": 40},
        {"value": "warm", "negatives": 40, "positives": 40},
    ]
    few = compare([("without", small_head(score=1.0))], examples.take(np.arange(60)), "lamp", 1)
    assert few["stages"][0]["false_positive_rate_gap"]["value"] is None, "one subgroup has no gap"


def test_a_threshold_parts_the_wanted_share() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    assert threshold_at(scores, 0.5) == pytest.approx(0.25)
    assert threshold_at(scores, 0.0) > 0.4
    assert 0 < threshold_at(scores, 1.0) < 0.1
    assert threshold_at(np.array([0.2, 0.2, 0.2, 0.9], np.float32), 0.5) == pytest.approx(0.55), "equals stay together"
    assert threshold_at(scores[:0], 0.5) == 0.5


def test_a_value_with_few_images_keeps_the_common_threshold() -> None:
    chance = np.random.default_rng(0)
    targets = chance.integers(0, 2, 400)
    values = ["cool"] * 380 + ["warm"] * 20
    head, field = equalise(
        small_head(score=2.0), rows(values, list(chance.normal(targets)), list(targets)), "lamp", "b"
    )
    assert head.decision.slices is not None
    assert set(head.decision.slices.thresholds) == {"cool"}
    assert "too few for a threshold (20); it keeps the common one" in field["warnings"][0]
    again = dataclasses.replace(head, decision=type(head.decision).from_json(head.decision.to_json()))
    assert again.decision == head.decision

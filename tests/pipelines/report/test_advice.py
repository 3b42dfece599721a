from __future__ import annotations

from typing import Any

from pipelines.report.advice import STEPS, advice
from tests.transforms.measures.example import batch, row
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions


def _metrics(*rows: dict[str, Any]) -> dict[str, Any]:
    evaluation = Evaluation(MeasureOptions(draws=20))
    if rows:
        evaluation.add(batch(*rows))
    return evaluation.compute()


def _row(actual: str, score: float, side: str = "left") -> dict[str, Any]:
    return row(["rare", "common"], [score, 1 - score], [actual], attributes=[("side", side)])


def _weak() -> list[dict[str, Any]]:
    """40 rare rows, of which a threshold of one half finds 10 and one of 0.2 finds 38, and 160 common ones."""
    rare = [0.9] * 10 + [0.25] * 28 + [0.05] * 2
    return [_row("rare", score) for score in rare] + [
        _row("common", 0.3 if index < 16 else 0.1) for index in range(160)
    ]


def test_a_weak_class_is_given_a_threshold_with_its_price() -> None:
    steps = {target: sentence for sentence, target in advice(_metrics(*_weak()), {})}
    assert "“rare” is missed in 75.0% of its rows" in steps["thresholds"]
    assert "at 0.24 it finds 95.0%, and 10.0% of the others are called so too" in steps["thresholds"]


def test_a_model_no_better_than_the_majority_is_not_recommended() -> None:
    rows = [_row("common" if index % 4 else "rare", 0.4) for index in range(80)]
    sentence, target = advice(_metrics(*rows), {})[0]
    assert sentence.startswith("Do not use it yet: it is not clearly better than always answering “common”")
    assert target == "confusion"
    assert "labels that can be told from the images. heliograph train --learning-curve" in sentence
    few = [_row("common", 0.1), _row("common", 0.1), _row("rare", 0.9)]
    assert "At this accuracy 30 measured images would tell it, here were 3." in advice(_metrics(*few), {})[0][0]
    one = advice(_metrics(few[0]), {})[0][0]
    assert "Measure 30 images or more, of every label; here were 1." in one


def test_a_slice_beyond_chance_and_sure_errors_are_named() -> None:
    rows = [_row("common", 0.95 if index % 2 else 0.05, "left") for index in range(60)]
    rows += [_row("rare" if index % 2 else "common", 0.99 if index % 2 else 0.01, "right") for index in range(200)]
    steps = {target: sentence for sentence, target in advice(_metrics(*rows), {})}
    assert "up to 95.0% sure of another class" in steps["worst"]
    assert "among side = left: only 50.0% are right, against 100.0% elsewhere" in steps["worst-slices"]


def test_a_gap_between_slices_is_named() -> None:
    rows = [_row("common", 0.8 if index % 2 else 0.1, "left") for index in range(80)]
    rows += [_row("common", 0.1 if index % 10 else 0.8, "right") for index in range(80)]
    rows += [_row("rare", 0.9, side) for side in ("left", "right") for _ in range(20)]
    steps = {target: sentence for sentence, target in advice(_metrics(*rows), {})}
    assert "gap of side = left: 50.0% of those there that are not “rare” are called so" in steps["fairness"]
    assert "40.0 percentage points more than elsewhere" in steps["fairness"]


def test_confidences_are_distrusted_beyond_chance_only() -> None:
    rows = [_row("common" if index % 10 else "rare", 0.01) for index in range(400)]
    assert "calibration" in [target for _, target in advice(_metrics(*rows), {})]
    assert "calibration" not in [target for _, target in advice(_metrics(*rows[:40]), {})]


def test_few_rows_dead_letters_and_nothing() -> None:
    steps = {
        target: sentence for sentence, target in advice(_metrics(*[_row("rare", 0.9)] * 12), {"CORRUPT": 2, "EMPTY": 1})
    }
    assert "3 images without a prediction, most often CORRUPT" in steps["dead"]
    assert "from 12 the accuracy is known to ±12" in steps["measured"]
    assert advice(_metrics(), {}) == [("Score images that have labels: nothing could be measured.", "warnings")]


def test_a_comparison_says_which_model_to_keep() -> None:
    metrics = _metrics(*_weak())
    pair = {"rows": 200, "p_value": 0.2, "difference": -0.1, "only_second_right": 3}
    words = []
    for changes in ({}, {"p_value": 0.01}, {"p_value": 0.01, "difference": 0.1}):
        steps = advice({**metrics, "comparison": {"overall": pair | changes}}, {})
        assert len(steps) <= STEPS
        words.append(next(sentence for sentence, target in steps if target == "comparison"))
    assert [sentence.split()[0] for sentence in words] == ["Do", "Prefer", "Keep"]
    assert "3 images that it loses" in words[1]

from __future__ import annotations

from typing import Any

import pytest

from pipelines.report.verdict import calibration_verdict, points, verdict, weak_spots
from tests.transforms.measures.example import batch, row
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions


def _metrics(*rows: dict[str, Any]) -> dict[str, Any]:
    evaluation = Evaluation(MeasureOptions())
    evaluation.add(batch(*rows))
    return evaluation.compute()


def _row(label: str, right: bool, side: str, confidence: float = 0.75) -> dict[str, Any]:
    other = "b" if label == "a" else "a"
    names = [label, other] if right else [other, label]
    return row(names, [confidence, 1 - confidence], [label], attributes=[("side", side)])


@pytest.mark.parametrize(("wrong", "words"), [(0, "clearly more than"), (45, "not clearly"), (80, "clearly less than")])
def test_verdict_compares_with_the_majority(wrong: int, words: str) -> None:
    rows = [_row("ab"[index % 2], index >= wrong, "left") for index in range(100)]
    assert words in verdict(_metrics(*rows)["overall"])


def test_weak_spots_are_named() -> None:
    left = [_row("ab"[index % 2], True, "left", 0.875) for index in range(100)]
    right = [_row("ab"[index % 2], index % 4 != 0, "right", 0.875) for index in range(60)]
    few = [_row("a", False, "few", 0.875) for _ in range(5)]
    assert weak_spots(_metrics(*left, *right, *few)) == [
        "Weakest class: “a”, of which 76.5% are found (65 of 85).",
        "Weakest slice: side = right, with 75.0% right among 60 against 87.9% overall, "
        "which is more than chance explains for this one slice.",
    ]
    assert calibration_verdict(_metrics(*left, *right, *few)) == (
        "The confidences can be taken at their word: they are off by 0.4 percentage points on average."
    )


@pytest.mark.parametrize(
    ("rows", "wrong", "confidence", "sentence"),
    [
        (100, 50, 0.875, "The confidences are off by 37.5 percentage points on average, mostly too high."),
        (
            300,
            45,
            0.875,
            "The confidences can be taken at their word: they are off by 2.5 percentage points on average.",
        ),
        (3, 3, 0.999, "The confidences are off by 99.9 percentage points on average, mostly too high."),
        (
            3,
            0,
            0.999,
            "3 predictions are too few to tell whether the confidences can be taken at their word: they are off by "
            "0.1 percentage points on average, and chance alone explains up to 28.1 percentage points.",
        ),
        (40, 8, 0.875, "40 predictions are too few to tell"),
    ],
)
def test_confidences_are_believed_when_there_are_enough(
    rows: int, wrong: int, confidence: float, sentence: str
) -> None:
    metrics = _metrics(*[_row("ab"[index % 2], index >= wrong, "left", confidence) for index in range(rows)])
    assert calibration_verdict(metrics).startswith(sentence)
    assert calibration_verdict(_metrics()) == ""
    assert not any("confidence" in spot for spot in weak_spots(metrics)), "they stand beside the reliability diagram"


def test_classes_that_are_all_found_have_no_weakest() -> None:
    assert not weak_spots(_metrics(*[_row("ab"[index % 2], True, "left", 0.99) for index in range(40)]))
    assert points(-1e-9) == "0.0 percentage points"


def test_nothing_measured() -> None:
    assert verdict(Evaluation(MeasureOptions()).compute()["overall"]) == "Nothing could be measured."


@pytest.mark.parametrize(
    ("rows", "wrong", "words"),
    [
        (12, 0, "more than the 50.0% that always answering “a” would get, on few images."),
        (12, 12, "less than the 50.0% that always answering “a” would get, on few images."),
        (12, 5, "too few to tell from the 50.0% that always answering “a” would get."),
        (4, 0, "(95% interval 51.0% to 100.0%), too few to tell from the 50.0%"),  # 1 of 16 by chance
    ],
)
def test_few_predictions_are_called_so(rows: int, wrong: int, words: str) -> None:
    assert words in verdict(_metrics(*[_row("ab"[i % 2], i >= wrong, "left") for i in range(rows)])["overall"])

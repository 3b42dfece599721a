from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from fairlearn import metrics as oracle
from sklearn.metrics import roc_auc_score

from tests.transforms.measures.example import batch, random_rows, row
from transforms.measures.batch import ClassScores
from transforms.measures.evaluation import Evaluation
from transforms.measures.fairness import Fairness
from transforms.measures.one_against_rest import Fineness, OneAgainstRest
from transforms.measures.slices import MeasureOptions
from transforms.measures.thresholds import RATES

AREAS = ("subgroup_auc", "bpsn_auc", "bnsp_auc", "negative_aeg", "positive_aeg")


def _measure(rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    evaluation = Evaluation(MeasureOptions(draws=50, **options))
    evaluation.add(batch(*rows))
    return evaluation.compute()


def _toxic(score: float, label: bool, inside: bool) -> dict[str, Any]:
    attributes = [("term", "yes")] if inside else []
    return row(["toxic", "fine"], [score, 1 - score], ["toxic" if label else "fine"], attributes=attributes)


def _compared(measured: dict[str, Any], attribute: str, value: str, name: str) -> dict[str, Any]:
    part = next(entry for entry in measured["slices"][attribute] if entry["value"] == value)
    found: dict[str, Any] = next(entry for entry in part["fairness"] if entry["name"] == name)
    return found


def test_known_areas_and_equality_gaps() -> None:
    rows = [
        *(_toxic(score, False, False) for score in (0.1, 0.2, 0.3)),
        *(_toxic(score, False, True) for score in (0.21, 0.31, 0.55)),
        *(_toxic(score, True, False) for score in (0.5, 0.8, 0.9)),
        *(_toxic(score, True, True) for score in (0.4, 0.6, 0.71)),
    ]
    measured = _measure(rows, positive_labels=("toxic",))
    found = _compared(measured, "term", "yes", "toxic")
    assert (found["positives"], found["negatives"]) == (3, 3)
    values = [found[name]["value"] for name in AREAS]
    assert values == pytest.approx([8 / 9, 8 / 9, 1.0, 0.38889, -0.27778], abs=5e-6)
    assert [found[name]["error"] for name in AREAS] == [0.0] * 5
    toxic = next(entry for entry in measured["classes"] if entry["name"] == "toxic")
    assert toxic["roc_auc"] == pytest.approx(0.94444, abs=5e-6)


def test_known_counts_at_a_threshold() -> None:
    scores = (0.1, 0.2, 0.3, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    labels = (True, False, False, False, False, False, True, True, True, True)
    rows = [_toxic(score, label, False) for score, label in zip(scores, labels, strict=True)]
    toxic = next(entry for entry in _measure(rows)["fairness"]["classes"] if entry["name"] == "toxic")
    cell = next(entry for entry in toxic["thresholds"] if entry["threshold"] == 0.5)
    names = ("true_positives", "true_negatives", "false_positives", "false_negatives")
    assert [cell[name] for name in names] == [4, 2, 3, 1]
    assert cell["false_positive_rate"]["value"] == 3 / 5


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    rows = [_toxic(0.1, True, False), _toxic(0.3, False, False), _toxic(0.9, True, False)]
    toxic = next(entry for entry in _measure(rows)["fairness"]["classes"] if entry["name"] == "toxic")
    called = [cell["true_positives"] + cell["false_positives"] for cell in toxic["thresholds"]]
    assert called == [2, 1, 1, 1, 0]


def _weighted_rows(seed: int, number: int = 300) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray, np.ndarray]:
    rows, scores, actual = random_rows(number, seed)
    return rows, scores, actual, np.array([index % 3 > 0 for index in range(number)])


@pytest.mark.parametrize("seed", range(3))
def test_areas_equal_scikit_learn(seed: int) -> None:
    rows, scores, actual, inside = _weighted_rows(seed)
    measured = _measure(rows)
    for index, name in enumerate(("bee", "cat", "dog", "emu")):
        found, truth, score = _compared(measured, "side", "left", name), actual == index, scores[:, index]
        for figure, chosen in (
            ("subgroup_auc", inside),
            ("bpsn_auc", (inside & ~truth) | (~inside & truth)),
            ("bnsp_auc", (inside & truth) | (~inside & ~truth)),
        ):
            assert found[figure]["value"] == pytest.approx(roc_auc_score(truth[chosen], score[chosen]), abs=1e-12)
        for figure, side in (("negative_aeg", ~truth), ("positive_aeg", truth)):
            expected = roc_auc_score(inside[side], score[side]) - 0.5
            assert found[figure]["value"] == pytest.approx(expected, abs=1e-12)
            low, high = found[figure]["interval"]
            assert low < found[figure]["value"] < high


def test_binned_areas_are_within_their_stated_error() -> None:
    rows, *_ = _weighted_rows(5, 800)
    exact, binned = _measure(rows), _measure(rows, exact_cells=40, slice_exact_cells=20)
    for name in ("bee", "cat"):
        one, two = (_compared(measured, "side", "left", name) for measured in (exact, binned))
        for figure in AREAS:
            assert 0 < two[figure]["error"] < 0.05
            assert abs(one[figure]["value"] - two[figure]["value"]) <= two[figure]["error"]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5])
def test_rates_equal_fairlearn(threshold: float) -> None:
    rows, scores, actual, inside = _weighted_rows(7)
    weights = np.random.default_rng(1).integers(1, 5, len(rows)) / 4
    for entry, weight in zip(rows, weights, strict=True):
        entry["weight"] = weight
    measured = _measure(rows)
    score = scores[:, 1]
    frame = oracle.MetricFrame(
        metrics={
            name: getattr(oracle, name)
            for name in ("false_positive_rate", "true_positive_rate", "false_negative_rate", "true_negative_rate")
        }
        | {"positive_rate": oracle.selection_rate},
        y_true=actual == 1,
        y_pred=score > np.float32(threshold),
        sensitive_features=np.where(inside, "left", "right"),
        sample_params={
            name: {"sample_weight": weights}
            for name in (
                "false_positive_rate",
                "true_positive_rate",
                "false_negative_rate",
                "true_negative_rate",
                "positive_rate",
            )
        },
    )
    for side, other in (("left", "right"), ("right", "left")):
        cells = _compared(measured, "side", side, "cat")["thresholds"]
        cell = next(entry for entry in cells if entry["threshold"] == threshold)
        for name in frame.by_group.columns:
            assert cell[name]["value"] == pytest.approx(frame.by_group.loc[side, name], abs=1e-12)
            gap = frame.by_group.loc[side, name] - frame.by_group.loc[other, name]
            assert cell[name]["gap"] == pytest.approx(gap, abs=1e-12)
            low, high = cell[name]["interval"]
            assert low <= cell[name]["value"] <= high


def test_what_is_undefined_is_null() -> None:
    rows = [_toxic(0.2, False, True), _toxic(0.8, True, False), _toxic(0.3, False, False)]
    found = _compared(_measure(rows), "term", "yes", "toxic")
    for name in ("subgroup_auc", "bnsp_auc", "positive_aeg"):
        assert found[name] == {"value": None, "error": None, "interval": [None, None]}
    assert found["bpsn_auc"]["value"] == 1.0
    cell = found["thresholds"][2]
    assert cell["true_positive_rate"]["value"] is None
    assert cell["precision"]["value"] is None
    assert cell["false_positive_rate"]["value"] == 0.0
    assert cell["false_positive_rate"]["interval"][1] > 0.5  # Wilson's: one row tells little


def test_intervals_cover_what_they_should() -> None:
    """Of 200 samples, the interval of the subgroup's AUC holds the truth in about 95 %."""
    generator = np.random.default_rng(3)
    truth = 0.5 * (1 + math.erf(0.5))  # of two normal distributions one apart
    hit = 0
    for trial in range(200):
        positive = generator.random(80) < 0.5
        scores = 1 / (1 + np.exp(-(generator.normal(size=80) + positive)))
        each = OneAgainstRest(1, Fineness(1000, 4, (0.5,)))
        each.add(ClassScores(scores[:, None], positive[:, None], np.ones(80)))
        found = Fairness(each, {"toxic": 0}, (0.5,), 200, trial).of_slice(("term", "yes"), each)
        low, high = found[0]["subgroup_auc"]["interval"]
        hit += low <= truth <= high
    assert 180 <= hit <= 198


def test_one_row_is_no_certainty() -> None:
    rows = [_toxic(0.9, False, True), *[_toxic(0.1, False, False)] * 60, *[_toxic(0.8, True, True)] * 60]
    found = _compared(_measure(rows), "term", "yes", "toxic")
    rate = found["thresholds"][2]["false_positive_rate"]
    assert (rate["value"], rate["gap"]) == (1.0, 1.0)
    assert rate["gap_interval"][0] == pytest.approx(1 - math.hypot(1 - 0.2065, 0.0602), abs=1e-3)  # by hand
    assert found["subgroup_auc"]["value"] == 0.0
    assert found["subgroup_auc"]["interval"] == [None, None]
    assert found["bnsp_auc"]["interval"][0] == pytest.approx(60 / (60 + 1.96**2), abs=1e-4)


def test_fractions_as_weights_leave_no_rounding_behind() -> None:
    rows = random_rows(600, 1)[0]
    weighted = [{**entry, "weight": 0.1} for entry in rows]
    plain, found = (_measure(entries, slices=("side", "serial", "rare")) for entries in (rows, weighted))
    for attribute, parts in plain["slices"].items():
        for part in parts:
            for compared in part["fairness"]:
                other = _compared(found, attribute, part["value"], compared["name"])
                for cells in zip(compared["thresholds"], other["thresholds"], strict=True):
                    wanted, figures = ([cell[rate]["gap"] for rate in RATES] for cell in cells)
                    assert figures == [pytest.approx(gap, abs=1e-9) for gap in wanted]

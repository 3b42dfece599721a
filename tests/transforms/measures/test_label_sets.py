from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from tests.transforms.measures.example import NAMES, batch, row
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions


def _rows(number: int, seed: int) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.random((number, 4)) < (0.5, 0.2, 0.4, 0.1)
    truth[~truth.any(axis=1), 0] = True
    scores = np.clip(np.round(generator.random((number, 4)) * 0.7 + 0.3 * truth, 2), 0, 1).astype(np.float32)
    weights = generator.integers(1, 4, number) / 2
    rows = []
    for index in range(number):
        order = np.argsort(-scores[index], kind="stable")
        labels = [name for name, there in zip(NAMES, truth[index], strict=True) if there]
        confidences = [float(scores[index, i]) for i in order]
        side = [("side", "left" if index % 3 else "right")]
        names = [NAMES[i] for i in order]
        rows.append(row(names, confidences, labels, attributes=side, weight=weights[index], image_uri=f"/{index}.jpg"))
    return rows, truth, scores, weights


def _measure(*batches: Any) -> dict[str, Any]:
    evaluation = Evaluation(MeasureOptions(multi_label=True, draws=20))
    for table in batches:
        part = Evaluation(MeasureOptions(multi_label=True, draws=20))
        part.add(table)
        evaluation.merge(part)
    return evaluation.compute()


def _check(figures: dict[str, Any], classes: Any, truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> None:
    decided, exact, given = scores > 0.5, {"abs": 1e-12}, {"sample_weight": weights}
    assert figures["accuracy"] == pytest.approx(oracle.accuracy_score(truth, decided, **given), **exact)
    sets = figures["label_sets"]
    assert sets["hamming_loss"] == pytest.approx(oracle.hamming_loss(truth, decided, **given), **exact)
    assert sets["f1"] == pytest.approx(oracle.f1_score(truth, decided, average="samples", **given), **exact)
    assert sets["jaccard_index"] == pytest.approx(
        oracle.jaccard_score(truth, decided, average="samples", zero_division=0, **given), **exact
    )
    for average in ("micro", "macro"):
        parts = oracle.precision_recall_fscore_support(truth, decided, average=average, **given)
        found = sets["micro"] if average == "micro" else figures["macro"]
        assert [found[name] for name in ("precision", "recall", "f1")] == pytest.approx(list(parts[:3]), **exact)
    macro = figures["macro"]
    assert macro["roc_auc"] == pytest.approx(oracle.roc_auc_score(truth, scores, **given), **exact)
    assert macro["average_precision"] == pytest.approx(oracle.average_precision_score(truth, scores, **given), **exact)
    wide = scores.astype(np.float64)
    for index, entry in enumerate(classes):
        assert entry["support"] == truth[:, index].sum()
        assert entry["predicted"] == decided[:, index].sum()
        expected = oracle.brier_score_loss(truth[:, index], wide[:, index], **given)
        assert entry["brier_score"] == pytest.approx(expected, **exact)
        expected = oracle.log_loss(truth[:, index], np.clip(wide[:, index], 2**-23, 1 - 2**-23), **given)
        assert entry["log_loss"] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_sets_of_labels_equal_scikit_learn(seed: int) -> None:
    rows, truth, scores, weights = _rows(300, seed)
    measured = _measure(batch(*rows))
    assert measured["counts"]["several_labels"] == 0
    _check(measured["overall"], measured["classes"], truth, scores, weights)
    for part in measured["slices"]["side"]:
        chosen = (np.arange(300) % 3 > 0) == (part["value"] == "left")
        _check(part, part["classes"], truth[chosen], scores[chosen], weights[chosen])
        assert [entry["name"] for entry in part["fairness"]] == list(NAMES)


def test_the_split_makes_no_difference() -> None:
    rows, *_ = _rows(90, 5)
    whole = _measure(batch(*rows))
    parts = _measure(*[batch(*rows[begin : begin + 11]) for begin in range(0, 90, 11)])
    assert parts["overall"]["label_sets"]["hamming_loss"] == pytest.approx(
        whole["overall"]["label_sets"]["hamming_loss"]
    )
    assert parts["worst_errors"] == whole["worst_errors"]
    for mine, theirs in zip(parts["classes"], whole["classes"], strict=True):
        assert mine.pop("name") == theirs.pop("name")
        assert mine == pytest.approx(theirs, rel=1e-12)


def test_sets_are_told_by_their_names() -> None:
    measured = _measure(batch(row(["a", "b"], [0.9, 0.8], ["b"]), row(["a", "b"], [0.2, 0.1], ["z", "a"])))
    worst = measured["worst_errors"]
    assert [(entry["label"], entry["prediction"]) for entry in worst] == [("a + z", "nothing"), ("b", "a + b")]
    assert measured["overall"]["accuracy"] == 0.0


def test_what_is_said_counts_and_not_one_half() -> None:
    rows = [row(["a", "b"], [0.9, 0.4], ["a", "b"], predicted=said) for said in (["a", "b"], ["a"], [], None)]
    measured = _measure(batch(*rows))
    assert measured["overall"]["accuracy"] == 0.25
    assert [entry["predicted"] for entry in measured["classes"]] == [3, 1]
    assert measured["worst_errors"][0]["prediction"] == "a"


def test_an_unknown_label_makes_its_set_wrong() -> None:
    measured = _measure(batch(row(["a", "b"], [0.9, 0.1], ["a", "z"]), row(["a", "b"], [0.9, 0.1], ["a"])))
    assert measured["overall"]["accuracy"] == 0.5

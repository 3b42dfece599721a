from __future__ import annotations

import copy
import itertools
import json
import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as oracle

from tests.transforms.measures.example import NAMES, batch, random_rows, row
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions


def _measure(*batches: pa.RecordBatch, **options: Any) -> dict[str, Any]:
    evaluation = Evaluation(MeasureOptions(**options))
    for part in batches:
        evaluation.add(part)
    return evaluation.compute()


def _check_against_oracle(figures: dict[str, Any], classes: Any, scores: np.ndarray, actual: np.ndarray) -> None:
    predicted = scores.argmax(axis=1)
    exact = {"abs": 1e-12}
    every = list(range(len(NAMES)))
    assert figures["accuracy"] == pytest.approx(oracle.accuracy_score(actual, predicted), **exact)
    parts = oracle.precision_recall_fscore_support(actual, predicted, labels=every, zero_division=np.nan)
    one_hot = np.eye(len(NAMES))[actual]
    for index, entry in enumerate(classes):
        found = [entry[name] for name in ("precision", "recall", "f1", "support")]
        expected = [None if np.isnan(part[index]) else pytest.approx(part[index], **exact) for part in parts]
        assert found == expected
        if 0 < one_hot[:, index].sum() < len(actual):
            assert entry["roc_auc"] == pytest.approx(oracle.roc_auc_score(one_hot[:, index], scores[:, index]), **exact)
        else:
            assert entry["roc_auc"] is None
    wide = scores.astype(np.float64)
    of_label = np.clip(wide[np.arange(len(actual)), actual], 2**-23, 1)
    assert figures["log_loss"] == pytest.approx(-np.log(of_label).mean(), **exact)
    assert figures["brier_score"] == pytest.approx(np.square(wide - one_hot).sum(axis=1).mean(), **exact)
    # Among equals ours takes the first in the list, the oracle the last: turn the classes around for it.
    top = oracle.top_k_accuracy_score(3 - actual, scores[:, ::-1], k=3, labels=every)
    assert figures["top_k_accuracy"] == {"3": pytest.approx(top, **exact)}


@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_scikit_learn(seed: int) -> None:
    rows, scores, actual = random_rows(400, seed, steps=97)
    measured = _measure(batch(*rows))
    _check_against_oracle(measured["overall"], measured["classes"], scores, actual)
    macro = oracle.roc_auc_score(np.eye(4)[actual], scores, average="macro")
    assert measured["overall"]["macro"]["roc_auc"] == pytest.approx(macro, abs=1e-12)
    predicted = scores.argmax(axis=1)
    assert measured["confusion_matrix"]["rows"] == oracle.confusion_matrix(actual, predicted).tolist()
    assert measured["overall"]["macro"]["f1"] == pytest.approx(
        oracle.f1_score(actual, predicted, average="macro"), abs=1e-12
    )
    loss = oracle.log_loss(actual, scores.astype(np.float64) / scores.sum(axis=1, keepdims=True, dtype=np.float64))
    assert measured["overall"]["log_loss"] == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_figures_of_each_class_equal_scikit_learn(seed: int) -> None:
    rows, scores, actual = random_rows(300, seed)
    weights = np.random.default_rng(seed).integers(0, 6, 300) / 4  # some weigh nothing
    chosen = np.flatnonzero(actual != 3)  # a class that no row has
    for index in chosen:
        rows[index]["weight"] = weights[index]
    measured = _measure(batch(*[rows[index] for index in chosen]))
    scores, actual, weights = scores[chosen].astype(np.float64), actual[chosen], weights[chosen]
    given, predicted = {"sample_weight": weights}, scores.argmax(axis=1)
    matrix = oracle.confusion_matrix(actual, predicted, labels=range(4), **given)
    np.testing.assert_allclose(measured["confusion_matrix"]["weights"], matrix, rtol=0, atol=1e-12)
    assert measured["overall"]["accuracy"] == pytest.approx(oracle.accuracy_score(actual, predicted, **given))
    for index, entry in enumerate(measured["classes"]):
        truth, score = actual == index, scores[:, index]
        assert entry["accuracy"] == pytest.approx(oracle.accuracy_score(truth, predicted == index, **given))
        assert entry["brier_score"] == pytest.approx(oracle.brier_score_loss(truth, score, **given), abs=1e-12)
        loss = oracle.log_loss(truth, score, labels=[False, True], **given)
        assert entry["log_loss"] == pytest.approx(loss, abs=1e-7)
        bins = np.clip(np.ceil(score * 15).astype(int) - 1, 0, 14)
        gaps = [abs(((score - truth) * weights)[bins == number].sum()) for number in range(15)]
        assert entry["expected_calibration_error"] == pytest.approx(sum(gaps) / weights.sum(), abs=1e-7)
        if index == 3:
            assert (entry["roc_auc"], entry["average_precision"], entry["recall"]) == (None, None, None)
            continue
        assert entry["roc_auc"] == pytest.approx(oracle.roc_auc_score(truth, score, **given), abs=1e-12)
        expected = oracle.average_precision_score(truth, score, **given)
        assert entry["average_precision"] == pytest.approx(expected, abs=1e-12)


def test_curves_are_those_of_scikit_learn() -> None:
    rows, scores, actual = random_rows(300, 2)
    curves = _measure(batch(*rows))["curves"]
    cat = curves["classes"][1]
    edges = np.array(curves["thresholds"], np.float32)
    above = scores[:, 1][:, None] > edges
    assert cat["true_positives"] == (above & (actual == 1)[:, None]).sum(axis=0).tolist()
    assert cat["false_positives"] == (above & (actual != 1)[:, None]).sum(axis=0).tolist()
    assert (cat["positives"], cat["negatives"]) == ((actual == 1).sum(), (actual != 1).sum())


def test_cells_of_the_matrix_and_the_least_confident_have_examples() -> None:
    rows, scores, actual = random_rows(200, 2)
    measured = _measure(batch(*rows))
    cell = next(
        entry
        for entry in measured["confusion_matrix"]["examples"]
        if (entry["label"], entry["prediction"]) == ("bee", "cat")
    )
    there = np.flatnonzero((actual == 0) & (scores.argmax(axis=1) == 1))
    best = there[np.argsort(-scores[there, 1], kind="stable")][:6]
    assert sorted(image["confidence"] for image in cell["images"]) == pytest.approx(sorted(scores[best, 1]))
    assert measured["least_confident"][0]["confidence"] == pytest.approx(scores.max(axis=1).min())


def test_pairs_of_attributes_are_slices_when_asked_for() -> None:
    rows, _, _ = random_rows(300, 2)
    slices = _measure(batch(*rows), slices=("side*rare", "side"))["slices"]
    index = np.arange(300)
    expected = {"left * yes": ((index % 3 > 0) & (index % 5 == 0)).sum(), "right * yes": (index % 15 == 0).sum()}
    assert {entry["value"]: entry["rows"] for entry in slices["side*rare"]} == expected
    assert list(slices) == ["side", "side*rare"]


def test_a_property_that_all_images_share_is_a_slice_only_when_asked_for() -> None:
    rows = [row(["a", "b"], [0.75, 0.25], ["a"], format=kind) for kind in ("JPEG", "JPEG", "PNG")]
    assert list(_measure(batch(*rows[:2]))["slices"]) == []
    assert list(_measure(batch(*rows))["slices"]) == ["image.format"]
    asked = _measure(batch(*rows[:2]), slices=("image.format",))["slices"]["image.format"]
    assert [(entry["value"], entry["rows"]) for entry in asked] == [("JPEG", 2)]


def test_a_slice_without_weight_has_no_figures() -> None:
    rows = [row(["a", "b"], [0.75, 0.25], ["a"], attributes=[("k", value)], weight=float(value)) for value in "001"]
    entries = _measure(batch(*rows))["slices"]["k"]
    assert (entries[0]["rows"], entries[0]["accuracy"], entries[0]["log_loss"]) == (2, None, None)
    assert entries[1]["accuracy"] == 1.0


def test_slices_equal_scikit_learn() -> None:
    rows, scores, actual = random_rows(400, 9)
    measured = _measure(batch(*rows))
    index = np.arange(400)
    for entry in measured["slices"]["side"]:
        chosen = (index % 3 > 0) == (entry["value"] == "left")
        assert entry["rows"] == chosen.sum()
        _check_against_oracle(entry, entry["classes"], scores[chosen], actual[chosen])
    assert [entry["value"] for entry in measured["slices"]["rare"]] == ["yes"]
    assert measured["slices"]["rare"][0]["rows"] == 80
    assert measured["slices_left_out"] == {"serial": "more than 20 values"}


def test_a_missing_class_is_null_and_not_zero() -> None:
    rows, scores, actual = random_rows(200, 3)
    chosen = np.flatnonzero(actual != 2)
    measured = _measure(batch(*[rows[index] for index in chosen]))
    _check_against_oracle(measured["overall"], measured["classes"], scores[chosen], actual[chosen])
    dog = measured["classes"][2]
    assert dog["recall"] is None
    assert dog["roc_auc"] is None
    assert dog["support"] == 0
    never = [row(["a", "b"], [0.9, 0.1], [label]) for label in "ab"]
    assert _measure(batch(*never))["classes"][1]["precision"] is None


@pytest.mark.parametrize(
    "options", [{}, {"exact_cells": 400, "slice_exact_cells": 40}, {"exact_cells": 1590, "slice_exact_cells": 600}]
)
def test_the_split_makes_no_difference(options: dict[str, int]) -> None:
    options = {"draws": 20, **options}
    rows, _, _ = random_rows(400, 5)
    rows[7]["confidences"][0] = float("nan")
    rows[8]["labels"] = []
    whole = _measure(batch(*rows), **options)
    for seed in range(3):
        generator = np.random.default_rng(seed)
        order = generator.permutation(400)
        cuts = [0, *sorted(generator.integers(0, 400, 9).tolist()), 400]
        parts = []
        for begin, end in itertools.pairwise(cuts):
            part = Evaluation(MeasureOptions(**options))
            part.add(batch(*[rows[index] for index in order[begin:end]]))
            part.compact()
            parts.append(pickle.loads(pickle.dumps(part)))
        merged = Evaluation(MeasureOptions(**options))
        for part in parts:
            merged.merge(part)
        _assert_equal(merged.compute(), whole)
    if "exact_cells" in options:
        assert whole["overall"]["roc_auc_method"] == "histogram"


def _assert_equal(found: Any, expected: Any, where: str = "") -> None:
    assert type(found) is type(expected), where
    if isinstance(found, dict):
        assert found.keys() == expected.keys(), where
        for name in found:
            _assert_equal(found[name], expected[name], f"{where}.{name}")
    elif isinstance(found, list):
        assert len(found) == len(expected), where
        for index, pair in enumerate(zip(found, expected, strict=True)):
            _assert_equal(*pair, f"{where}[{index}]")
    elif isinstance(found, float):
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12), where
    else:
        assert found == expected, where


def test_merging_leaves_the_other_as_it_was() -> None:
    rows, _, _ = random_rows(60, 5)
    one, two = Evaluation(MeasureOptions()), Evaluation(MeasureOptions())
    two.add(batch(*rows))
    before = copy.deepcopy(two.compute())
    one.merge(two)
    one.add(batch(*rows))
    assert two.compute() == before
    assert one.compute()["counts"]["rows"] == 120


def test_rows_that_cannot_be_measured_are_counted_apart() -> None:
    sound = [row(["a", "b"], [0.75, 0.25], [label]) for label in "ab"]
    odd = {
        "bad_rows": [
            row(["a", "b"], [0.5], ["a"]),
            row(["a"], [0.5, 0.5], ["a"]),
            row(None, None, ["a"]),
            row([], [], ["a"]),
            row(["a", "a"], [0.5, 0.5], ["a"]),
            row(["a", "b"], [1.5, -0.5], ["a"]),
            row(["a", None], [0.5, 0.5], ["a"]),
            {**row(["a", "b"], [0.5, 0.5], ["a"]), "ids": ["0"]},
        ],
        "nan_scores": [row(["a", "b"], [float("nan"), 0.5], ["a"]), row(["a", "b"], [float("inf"), 0.5], ["a"])],
        "unlabelled": [row(["a", "b"], [0.5, 0.5], labels) for labels in (None, [], [" "], [None])],
        "several_labels": [row(["a", "b"], [0.5, 0.5], ["a", "b"])],
    }
    every = [entry for entries in odd.values() for entry in entries]
    measured = _measure(batch(*every, *sound))
    counts = measured["counts"]
    assert {name: counts[name] for name in odd} == {name: len(entries) for name, entries in odd.items()}
    assert counts["rows"] == len(every) + 2
    assert counts["measured"] == measured["overall"]["rows"] == 2
    assert measured["overall"]["accuracy"] == 0.5
    assert len(measured["warnings"]) == 4


def test_images_of_the_training_split_are_told() -> None:
    rows = [row(["a", "b"], [0.75, 0.25], ["a"], split=split) for split in ("train", "train", "test", None)]
    measured = _measure(batch(*rows, row(["a", "b"], [0.75, 0.25], [], split="train")))
    assert measured["counts"]["training"] == 2
    assert any(
        text.startswith("2 measured rows of 4 are of images in the training split") for text in measured["warnings"]
    )
    assert _measure(batch(*rows[2:]))["counts"]["training"] == 0


def test_an_unknown_label_is_an_error_and_has_no_auc() -> None:
    rows = [row(["a", "b"], [0.75, 0.25], [label]) for label in "aabz"]
    measured = _measure(batch(*rows))
    assert measured["counts"]["unknown_labels"] == 1
    assert measured["overall"]["accuracy"] == 0.5
    unknown = measured["classes"][2]
    assert (unknown["name"], unknown["known"], unknown["support"], unknown["recall"]) == ("z", False, 1, 0.0)
    assert unknown["roc_auc"] is None
    assert unknown["precision"] is None
    assert measured["confusion_matrix"]["rows"] == [[2, 0, 0], [1, 0, 0], [1, 0, 0]]
    expected = -(2 * np.log(0.75) + np.log(0.25) + np.log(2**-23)) / 4
    assert measured["overall"]["log_loss"] == pytest.approx(expected, abs=1e-12)
    assert measured["overall"]["brier_score"] == pytest.approx((2 * 0.0625 + 0.5625 + 0.8125) / 4)
    assert "'z'" in measured["warnings"][0]


def test_a_top_k_cut_leaves_no_auc_but_the_rest() -> None:
    rows = [row(["a"], [0.6], ["a"]), row(["b"], [0.5], ["a"]), row(["c"], [0.5], ["c"]), row(["d"], [0.4], ["d"])]
    measured = _measure(batch(*rows))
    assert measured["overall"]["accuracy"] == 0.75
    assert measured["overall"]["log_loss"] is None
    assert measured["overall"]["macro"]["roc_auc"] is None
    assert measured["overall"]["top_k_accuracy"] == {"3": None}
    assert measured["counts"]["incomplete_scores"] == 4
    assert measured["overall"]["expected_calibration_error"] == pytest.approx((0.4 + 0.6 + 0.5 - 0.5) / 4)


def test_rows_complete_for_their_batch_only_are_left_out_in_any_order() -> None:
    whole = [row(["a", "b", "c"], [0.5, 0.3, 0.2], [label]) for label in "abc"]
    cut = [row(["a", "b"], [0.6, 0.3], ["a"])]
    for parts in ((whole, cut), (cut, whole), ([whole[0], *cut], whole[1:])):
        measured = _measure(*[batch(*part) for part in parts])
        assert measured["overall"]["probability_rows"] == 3
        assert measured["overall"]["log_loss"] == pytest.approx(-np.log([0.5, 0.3, 0.2]).mean(), abs=1e-7)


def test_one_class_only() -> None:
    measured = _measure(batch(*[row(["a", "b"], [0.75, 0.25], ["a"])] * 40))
    assert measured["overall"]["accuracy"] == 1.0
    assert measured["overall"]["majority_accuracy"] == 1.0
    assert measured["classes"][0]["roc_auc"] is None
    assert measured["warnings"] == ["All rows have the label 'a': there is no AUC, and accuracy tells little."]
    low, high = measured["overall"]["accuracy_interval"]
    assert low == pytest.approx(40 / (40 + 1.9599640**2), abs=1e-6)
    assert high == 1.0


def test_nothing_is_null_and_no_error() -> None:
    measured = _measure()
    assert measured["overall"]["accuracy"] is None
    assert measured["counts"]["rows"] == 0
    json.dumps(measured, allow_nan=False)
    assert measured["warnings"] == ["No row could be measured, so there are no figures."]


def test_named_slices_only_and_small_ones_marked() -> None:
    rows, _, _ = random_rows(90, 1)
    measured = _measure(batch(*rows), slices=("serial", "side"), minimum_slice=31, draws=2)
    assert list(measured["slices"]) == ["serial", "side"]
    assert len(measured["slices"]["serial"]) == 37
    assert [entry["small"] for entry in measured["slices"]["side"]] == [False, True]


def test_worst_errors_are_the_most_confident_ones_and_ties_go_by_address() -> None:
    rows = [
        row(["a", "b"], [share, 1 - share], ["b"], image_uri=f"/{name}.jpg", image_id=name)
        for name, share in (("q", 0.75), ("c", 0.875), ("b", 0.875), ("a", 0.5), ("z", 1.0))
    ]
    right = row(["a", "b"], [1.0, 0.0], ["a"])
    found = _measure(batch(*rows[:2]), batch(right, *rows[2:]), worst=3)["worst_errors"]
    assert [entry["image_uri"] for entry in found] == ["/z.jpg", "/b.jpg", "/c.jpg"]
    assert found[0] == {
        "image_id": "z",
        "image_uri": "/z.jpg",
        "label": "b",
        "prediction": "a",
        "confidence": 1.0,
    }


def test_calibration_bins() -> None:
    rows = [row(["a", "b"], [c, 1 - c], [label]) for c, label in ((1.0, "a"), (0.875, "b"), (0.875, "a"))]
    measured = _measure(batch(*rows))
    assert measured["overall"]["expected_calibration_error"] == pytest.approx((0 + 2 * 0.375) / 3)
    last, before = measured["calibration"][14], measured["calibration"][13]
    assert (last["rows"], last["accuracy"]) == (1, 1.0)
    assert (before["rows"], before["confidence"], before["accuracy"]) == (2, 0.875, 0.5)
    assert measured["calibration"][0]["accuracy"] is None


def test_confidences_need_not_be_sorted() -> None:
    measured = _measure(
        batch(row(["a", "b", "c"], [0.1, 0.6, 0.3], ["b"]), row(["c", "a", "b"], [0.2, 0.4, 0.4], ["a"]))
    )
    assert measured["overall"]["accuracy"] == 1.0


def test_what_is_said_counts_and_not_the_most_confident() -> None:
    said = (["a"], ["b"], [], None)
    rows = [row(["a", "b"], [0.75, 0.25], ["a"], predicted=answer) for answer in said]
    measured = _measure(batch(*rows))
    assert measured["overall"]["accuracy"] == 0.5
    assert measured["confusion_matrix"]["largest"] == [
        {"label": "a", "prediction": "b", "rows": 1},
        {"label": "a", "prediction": "none of these", "rows": 1},
    ]


def test_a_slice_of_a_batch_is_read_as_such() -> None:
    rows, _, _ = random_rows(80, 2)
    _assert_equal(_measure(batch(*rows).slice(10, 50)), _measure(batch(*rows[10:60])))


def test_merging_with_a_part_that_names_fewer_classes_leaves_its_rows_out() -> None:
    whole = batch(*[row(["a", "b", "c"], [0.5, 0.3, 0.2], [label]) for label in "abc"])
    fewer = batch(*[row(["a", "b"], [0.6, 0.3], ["a"])] * 2)
    for order in ((whole, fewer), (fewer, whole)):
        merged = Evaluation(MeasureOptions())
        for table in order:
            part = Evaluation(MeasureOptions())
            part.add(table)
            merged.merge(part)
        _assert_equal(merged.compute(), _measure(whole, fewer))
        assert merged.compute()["overall"]["probability_rows"] == 3


def test_an_attribute_has_too_many_values_once_parts_are_merged() -> None:
    parts = []
    for begin in (0, 11):
        part = Evaluation(MeasureOptions())
        values = [f"v{begin + index}" for index in range(11)]
        part.add(batch(*[row(["a", "b"], [0.75, 0.25], ["a"], attributes=[("k", value)]) for value in values]))
        assert len(part.compute()["slices"]["k"]) == 11
        parts.append(part)
    parts[0].merge(parts[1])
    assert parts[0].compute()["slices"] == {}
    assert parts[0].compute()["slices_left_out"] == {"k": "more than 20 values"}


def test_rounding_beyond_one_is_no_bad_row() -> None:
    measured = _measure(batch(row(["a", "b"], [1.0000005, 0.0], ["b"])))
    assert measured["counts"]["bad_rows"] == 0
    assert measured["worst_errors"][0]["confidence"] == 1.0

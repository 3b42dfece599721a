from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from tests.transforms.measures.example import batch, random_rows
from transforms.measures.batch import PredictionBatch
from transforms.measures.confusion import Confusion, wilson_interval
from transforms.measures.rows import decode_rows


def test_wilson_interval_known_answers() -> None:
    assert wilson_interval(0.9, 100) == pytest.approx((0.825634338, 0.944770863), abs=1e-9)
    assert wilson_interval(0.0, 10) == pytest.approx((0.0, 0.277532800), abs=1e-9)
    assert all(math.isnan(end) for end in wilson_interval(math.nan, 0))


def _weighted() -> tuple[PredictionBatch, np.ndarray, np.ndarray, np.ndarray]:
    import dataclasses

    rows, scores, actual = random_rows(300, 4, steps=97)
    weights = np.random.default_rng(0).random(300) * 5
    decoded = dataclasses.replace(decode_rows(batch(*rows)).batch, weights=weights)
    return decoded, actual, scores.argmax(axis=1), weights


def test_weighted_figures_equal_scikit_learn() -> None:
    decoded, actual, predicted, weights = _weighted()
    confusion = Confusion()
    confusion.add(decoded)
    found = confusion.compute()
    assert found["accuracy"] == pytest.approx(
        oracle.accuracy_score(actual, predicted, sample_weight=weights), abs=1e-12
    )
    parts = oracle.precision_recall_fscore_support(actual, predicted, sample_weight=weights)
    classes = confusion.per_class(decoded.names)
    for index, name in enumerate(("precision", "recall", "f1")):
        np.testing.assert_allclose([entry[name] for entry in classes], parts[index], rtol=0, atol=1e-12)
    effective = weights.sum() ** 2 / np.square(weights).sum()
    assert found["accuracy_interval"] == pytest.approx(wilson_interval(found["accuracy"], effective))


def test_majority_goes_to_the_first_name_among_equals() -> None:
    confusion = Confusion()
    decoded, *_ = _weighted()
    confusion.add(decoded.take(np.zeros(decoded.rows, np.bool_)))
    assert confusion.compute()["majority_class"] is None
    confusion._count(("b", "a"), 2, 2.0)
    confusion._count(("a", "b"), 2, 2.0)
    assert confusion.compute()["majority_class"] == "a"
    assert confusion.compute()["majority_accuracy"] == 0.5
    assert confusion.largest(1) == [{"label": "a", "prediction": "b", "rows": 2}]

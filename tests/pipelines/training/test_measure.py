from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from pipelines.training.features import Examples
from pipelines.training.measure import measure
from tests.pipelines.training.test_calibrate import doubles, identity_head
from tests.transforms.model.builders import array


def test_metrics_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(500, 3)).astype(np.float32) * 2
    targets = np.where(generator.uniform(size=500) < 0.6, logits.argmax(axis=1), generator.integers(0, 3, 500))
    head = identity_head(3)
    found = measure(head, Examples(vectors=logits, targets=targets.astype(np.int32)))
    assert found is not None
    probabilities, predicted = doubles(head.probabilities(logits)), logits.argmax(axis=1)
    assert found["rows"] == 500
    assert found["accuracy"] == pytest.approx((predicted == targets).mean())
    assert found["majority_accuracy"] == np.bincount(targets).max() / 500
    assert found["macro"]["f1"] == pytest.approx(sklearn_metrics.f1_score(targets, predicted, average="macro"))
    assert found["log_loss"] == pytest.approx(sklearn_metrics.log_loss(targets, probabilities), rel=1e-5)
    matrix = sklearn_metrics.confusion_matrix(targets, predicted).tolist()
    assert found["confusion_matrix"]["labels"] == ["a", "b", "c"]
    assert found["confusion_matrix"]["rows"] == matrix
    recalls = sklearn_metrics.recall_score(targets, predicted, average=None)
    assert [entry["recall"] for entry in found["classes"]] == pytest.approx(recalls)
    assert 0 < found["expected_calibration_error"] < 0.5


def test_rows_of_a_label_that_the_head_does_not_know_are_wrong() -> None:
    logits = array([5, 0], [0, 5], [5, 0], [5, 0])
    found = measure(identity_head(2), Examples(vectors=logits, targets=np.array([0, 1, 2, 3], np.int32)), ("0", "z"))
    assert found is not None
    assert found["accuracy"] == 0.5
    assert found["confusion_matrix"]["labels"] == ["0", "a", "b", "z"]
    assert found["confusion_matrix"]["rows"] == [[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
    assert [entry["known"] for entry in found["classes"]] == [False, True, True, False]


def test_an_empty_split_has_no_metrics() -> None:
    empty = Examples(vectors=np.zeros((0, 2), np.float32), targets=np.zeros(0, np.int32))
    assert measure(identity_head(2), empty) is None

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.transforms.model.builders import array
from transforms.errors import ModelError
from transforms.model.decision import FIRST, NEVER, Decision
from transforms.model.head import Head


def one(decision: Decision, *rows: list[float]) -> list[int]:
    """The class of each row, -1 for none of these."""
    decided = decision.decide_one(array(*rows))
    return [int(row.argmax()) if row.any() else -1 for row in decided]


def test_without_thresholds_the_first_of_the_most_confident_is_the_answer() -> None:
    assert one(FIRST, [0.2, 0.5, 0.3], [0.4, 0.4, 0.2]) == [1, 0]
    assert FIRST.always_first


def test_below_a_confidence_it_is_none_of_these() -> None:
    assert one(Decision(none_below=0.5), [0.5, 0.3, 0.2], [0.49, 0.31, 0.2]) == [0, -1]


def test_a_class_is_answered_from_its_threshold_on_before_those_without() -> None:
    decision = Decision(thresholds=(0.2, None, None))
    assert one(decision, [0.2, 0.8, 0.0], [0.19, 0.5, 0.31], [0.19, 0.3, 0.51]) == [0, 1, 2]
    picky = Decision(thresholds=(0.9, None))
    assert one(picky, [0.89, 0.11], [0.9, 0.1]) == [1, 0]


def test_of_several_that_reach_theirs_the_one_furthest_above_it_is_the_answer_and_when_none_does_none() -> None:
    decision = Decision(thresholds=(0.2, 0.5, NEVER))
    assert one(decision, [0.3, 0.6, 0.1], [0.25, 0.7, 0.05], [0.1, 0.4, 0.5], [0, 0, 1]) == [0, 1, -1, -1]


def test_of_sigmoids_each_label_is_decided_alone() -> None:
    decision = Decision(thresholds=(0.8, None, NEVER), none_below=0.6)
    decided = decision.decide_several(array([0.8, 0.5, 1], [0.7, 0.4, 0.1], [0.5, 0.55, 0.5]))
    assert decided.tolist() == [[True, True, False], [False, False, False], [False, False, False]]


def head(decision: Decision = FIRST) -> Head:
    ones = np.ones(2, np.float32)
    layers = ((np.eye(2, dtype=np.float32), 0 * ones),)
    return Head(labels=("a", "b"), mean=0 * ones, std=ones, layers=layers, decision=decision)


def test_a_head_keeps_its_decision_and_its_digest_says_so() -> None:
    decided = head(Decision(thresholds=(0.25, None), none_below=0.1))
    again = Head.from_bytes(decided.to_bytes(), decided.to_json())
    assert again.decision == decided.decision
    assert "decision" not in head().to_json()  # and old models have none
    digests = {head(Decision(none_below=none)).digest for none in (0, 0.1, 0.2)} | {decided.digest}
    assert len(digests) == 4
    forged = {**decided.to_json(), "decision": {"thresholds": [], "none_below": 0}}
    with pytest.raises(ModelError, match="digest differs"):
        Head.from_bytes(decided.to_bytes(), forged)


def test_numbers_that_decide_nothing_are_refused() -> None:
    for options in ({"thresholds": (0.0,)}, {"thresholds": (float("nan"),)}, {"none_below": 1.0}, {"none_below": -0.1}):
        with pytest.raises(ModelError, match="decision:"):
            Decision(**options)
    with pytest.raises(ModelError, match="3 thresholds for 2 labels"):
        dataclasses.replace(head(), decision=Decision(thresholds=(None, None, 0.5)))

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from pipelines.training.features import Examples
from pipelines.training.measure import measure
from pipelines.training.thresholds import (
    Goal,
    ThresholdSettings,
    add_threshold_arguments,
    fit_decision,
    measure_decision,
    threshold_arguments,
    threshold_settings,
)
from transforms.errors import OptionError
from transforms.model.decision import NEVER
from transforms.model.head import Head


def head(classes: int, activation: str = "softmax") -> Head:
    """A head whose logits are its vectors."""
    layers = ((np.eye(classes, dtype=np.float32), np.zeros(classes, np.float32)),)
    ones = np.ones(classes, np.float32)
    return Head(labels=tuple("abcdef"[:classes]), mean=0 * ones, std=ones, layers=layers, activation=activation)


def examples(count: int = 600, classes: int = 3, seed: int = 0) -> Examples:
    """Rows whose targets are drawn from the probabilities of ``head``."""
    generator = np.random.default_rng(seed)
    vectors = generator.normal(scale=1.5, size=(count, classes)).astype(np.float32)
    shares = head(classes).probabilities(vectors).cumsum(axis=1)
    targets = (generator.uniform(size=(count, 1)) > shares).sum(axis=1).clip(0, classes - 1)
    return Examples(vectors=vectors, targets=targets.astype(np.int32))


def settings(*argv: str) -> ThresholdSettings:
    parser = argparse.ArgumentParser()
    add_threshold_arguments(parser)
    return threshold_settings(parser.parse_args(argv))


@pytest.mark.parametrize("wanted", [0.6, 0.75, 0.9])
@pytest.mark.parametrize("measure", ["precision", "recall"])
def test_a_threshold_is_the_one_of_the_precision_recall_curve(measure: str, wanted: float) -> None:
    rows = examples()
    fit = fit_decision(head(3), rows, settings("--threshold-for", f"b:{measure}={wanted}"))
    threshold = fit.decision.thresholds[1]
    assert fit.decision.thresholds == (None, threshold, None)
    confidence, of_class = head(3).probabilities(rows.vectors)[:, 1], rows.targets == 1
    precision, recall, limits = precision_recall_curve(of_class, confidence)
    if measure == "precision":
        expected = limits[np.flatnonzero(precision[:-1] >= wanted)[0]]
    else:
        expected = limits[np.flatnonzero(recall[:-1] >= wanted)[-1]]
    assert np.array_equal(confidence >= threshold, confidence >= expected)


@pytest.mark.parametrize(("measure", "wanted"), [("precision", 0.8), ("recall", 0.9)])
def test_the_answers_of_one_class_reach_what_was_wanted(measure: str, wanted: float) -> None:
    rows = examples()
    fit = fit_decision(head(3), rows, settings("--threshold-for", f"b:{measure}={wanted}"))
    decided = Head(**{**vars(head(3)), "decision": fit.decision})
    found = measure_decision(decided, fit.goals, rows)
    assert found is not None
    assert wanted <= found["classes"][0][measure] < wanted + 0.03
    chosen = decided.decide(decided.probabilities(rows.vectors))
    assert found["answered"] == 1
    assert found["accuracy"] == pytest.approx((chosen.argmax(axis=1) == rows.targets).mean())
    hits = (chosen[:, 1] & (rows.targets == 1)).sum()
    assert found["classes"][0]["precision"] == pytest.approx(hits / chosen[:, 1].sum())
    assert found["classes"][0]["recall"] == pytest.approx(hits / (rows.targets == 1).sum())


def test_none_of_these_is_chosen_by_accuracy_or_coverage_and_refuses_what_the_head_does_not_know() -> None:
    rows = examples()
    targets = rows.targets.copy()
    targets[::10] = 7  # of a class that the head does not know
    vectors = rows.vectors.copy()
    vectors[::10] *= 0.1  # and is unsure about
    rows = Examples(vectors=vectors, targets=targets)
    highest = head(3).probabilities(vectors).max(axis=1)
    covered = fit_decision(head(3), rows, settings("--none-below", "coverage=0.8")).decision.none_below
    assert (highest >= covered).mean() == pytest.approx(0.8, abs=0.002)
    fit = fit_decision(head(3), rows, settings("--none-below", "accuracy=0.8"))
    found = measure_decision(Head(**{**vars(head(3)), "decision": fit.decision}), fit.goals, rows)
    assert found is not None
    assert 0.8 <= found["accuracy"] < 0.82
    assert found["refused"] == 1
    assert 0.2 < found["answered"] < 0.9
    assert fit_decision(head(3), rows, settings("--none-below", "0.7")).decision.none_below == 0.7


def test_of_several_labels_each_gets_its_own() -> None:
    rows = examples(classes=2)
    several = Examples(vectors=rows.vectors, targets=np.stack([rows.targets == 0, rows.vectors[:, 1] > 0.3], axis=1))
    fit = fit_decision(head(2, "sigmoid"), several, settings("--threshold-for", "recall=0.9"))
    decided = Head(**{**vars(head(2, "sigmoid")), "decision": fit.decision})
    found, measured = measure_decision(decided, fit.goals, several), measure(decided, several)
    assert found is not None
    assert measured is not None
    assert [0.9 <= entry["recall"] < 0.93 for entry in found["classes"]] == [True, True]
    for measure_name in ("precision", "recall"):
        reached = [entry[measure_name] for entry in found["classes"]]
        assert [entry[measure_name] for entry in measured["classes"]] == pytest.approx(reached)
    with pytest.raises(OptionError, match="is for one label an image; of several give a confidence"):
        fit_decision(head(2, "sigmoid"), several, settings("--none-below", "accuracy=0.9"))


def test_what_cannot_be_reached_or_rests_on_little_is_told() -> None:
    rows = examples(classes=4)
    known = Examples(vectors=rows.vectors, targets=np.where(rows.targets == 3, 0, rows.targets))
    unsure = Examples(vectors=known.vectors * 0, targets=known.targets)
    fit = fit_decision(head(4), known, settings("--threshold-for", "precision=0.99", "--threshold-for", "d:recall=1"))
    assert fit.decision.thresholds[3] is None
    assert "class 'd': no validation image is of it, so it has no threshold" in fit.warnings[-1]
    assert "rests on" in fit.warnings[0]
    fit = fit_decision(head(4), unsure, settings("--threshold-for", "precision=0.99"))
    assert fit.decision.thresholds == (NEVER,) * 4
    assert "at most, so it is never answered; ask for less" in fit.warnings[0]
    with pytest.raises(OptionError, match="no confidence has answers that right"):
        fit_decision(head(4), unsure, settings("--none-below", "accuracy=0.99"))


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--threshold-for=a:recall=0.95", "--threshold-for=precision=0.9"],
        ["--none-below=0.6"],
        ["--none-below=accuracy=0.9"],
    ],
)
def test_flags_become_settings_and_back(argv: Sequence[str]) -> None:
    assert threshold_arguments(settings(*argv)) == argv


def test_a_label_may_have_colons_and_equals_signs() -> None:
    assert settings("--threshold-for", "a:b=c:recall=0.5").threshold_for == (
        Goal(measure="recall", wanted=0.5, label="a:b=c"),
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--threshold-for", "f1=0.9"], r"must be \[LABEL:\]precision=P or \[LABEL:\]recall=R, got 'f1=0.9'"),
        (["--threshold-for", "precision=95"], r"95 must be in \(0, 1\], such as 0.95"),
        (["--threshold-for", "precision=high"], "'high' is no number"),
        (["--threshold-for", "recall=1", "--threshold-for", "precision=1"], "given twice for every class"),
        (["--threshold-for", "a:recall=1", "--threshold-for", "a:precision=1"], "given twice for 'a'"),
        (["--none-below", "precision=0.9"], "must be a confidence, accuracy=A or coverage=S"),
        (["--none-below", "1"], "must be below 1"),
        (["--none-below", "nan"], "must be in"),
    ],
)
def test_flags_that_say_nothing_are_refused(argv: Sequence[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        settings(*argv)


def test_a_goal_for_no_class_is_refused() -> None:
    with pytest.raises(OptionError, match="'cow' is no class; there are 'a', 'b', 'c'"):
        fit_decision(head(3), examples(), settings("--threshold-for", "cow:recall=0.9"))

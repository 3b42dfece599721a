from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from transforms.measures.areas import average_precision, roc_area
from transforms.measures.batch import ClassScores
from transforms.measures.score_sample import ScoreSample, bin_count, coarser_bins, score_bins, score_sides


def exact_area(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    return roc_area(*score_sides(scores, positive, weights)[1:], True).area


def test_area_counts_ties_half() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8])
    assert exact_area(scores, np.array([False, False, True, True]), np.ones(4)) == 3.5 / 4


def test_area_of_one_side_only_is_nan() -> None:
    assert math.isnan(exact_area(np.array([0.1, 0.2]), np.array([True, True]), np.ones(2)))


@pytest.mark.parametrize("seed", range(5))
def test_area_equals_scikit_learn_with_ties_and_weights(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 12, 500) / 12
    positive = generator.random(500) < 0.3
    weights = generator.random(500) * 3
    expected = roc_auc_score(positive, scores, sample_weight=weights)
    assert exact_area(scores, positive, weights) == pytest.approx(expected, abs=1e-12)
    precision = average_precision(*score_sides(scores, positive, weights)[1:], True)
    expected = average_precision_score(positive, scores, sample_weight=weights)
    assert precision == (pytest.approx(expected, abs=1e-12), 0.0)


@pytest.mark.parametrize("bits", [4, 7])
def test_bins_are_monotone_and_within_their_number(bits: int) -> None:
    ends = np.logspace(-30, -0.31, 3000)
    scores = np.unique(np.concatenate([[0, 0.5, 1], ends, 1 - ends])).astype(np.float32)
    code = score_bins(np.sort(scores), bits)
    assert (np.diff(code) >= 0).all()
    assert code[0] == 0
    assert code[-1] == 48 << bits


def test_bins_are_fine_at_both_ends() -> None:
    near = np.array([1e-6, 1.1e-6, 0.5], np.float32)
    code = score_bins(np.concatenate([near, 1 - near[:2]]), 7)
    assert len(set(code.tolist())) == 5


def test_coarser_bins_are_those_of_the_scores_themselves() -> None:
    scores = np.concatenate([np.logspace(-30, -0.31, 3000), 1 - np.logspace(-7, -0.31, 3000), [0, 0.5, 1]])
    scores = scores.astype(np.float32)
    assert (coarser_bins(7, 4)[score_bins(scores, 7)] == score_bins(scores, 4)).all()
    assert coarser_bins(7, 4)[-1] == bin_count(4) - 1


def _sample(seed: int, rows: int) -> ClassScores:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, 3)) * 4
    column = generator.integers(-1, 3, rows)
    logits[np.arange(rows), column] += 1
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return ClassScores(scores.astype(np.float32), column[:, None] == np.arange(3), generator.random(rows))


@pytest.mark.parametrize("bits", [4, 7])
def test_histogram_is_within_its_stated_error(bits: int) -> None:
    scores, hits, weights = _sample(1, 4000)
    sample = ScoreSample(3, 10, bits)
    sample.add(ClassScores(scores, hits, weights))
    assert not sample.exact
    for index in range(3):
        for figure, oracle in ((roc_area, roc_auc_score), (average_precision, average_precision_score)):
            area, error = figure(*sample.sides(index)[1:], False)
            expected = oracle(hits[:, index], scores[:, index], sample_weight=weights)
            assert 0 < error < (2e-2 if bits == 4 else 4e-3)
            assert abs(area - expected) <= error


@pytest.mark.parametrize("exact_rows", [10, 699, 700, 5000])
def test_the_split_makes_no_difference(exact_rows: int) -> None:
    block = _sample(2, 700)
    whole = ScoreSample(3, exact_rows, 7)
    whole.add(block)
    cuts = [0, 1, 5, 400, 401, 700]
    parts = []
    for begin, end in itertools.pairwise(cuts):
        part = ScoreSample(3, exact_rows, 7)
        part.add(ClassScores(*(array[begin:end] for array in block)))
        parts.append(part)
    merged = ScoreSample(3, exact_rows, 7)
    for index in (3, 0, 4, 2, 1):
        merged.merge(parts[index])
    assert merged.exact == whole.exact == (exact_rows >= 700)
    for index in range(3):
        for side, expected in zip(merged.sides(index), whole.sides(index), strict=True):
            np.testing.assert_allclose(side, expected, rtol=0, atol=1e-12)


def test_an_area_of_nothing_is_nan() -> None:
    assert math.isnan(roc_area(np.zeros(3), np.ones(3), True).area)
    assert math.isnan(average_precision(np.zeros(3), np.ones(3), True).area)
    assert math.isnan(roc_area(*ScoreSample(2, 5, 7).sides(0)[1:], True).area)


def test_the_bound_of_average_precision_holds_for_any_order_in_a_bin() -> None:
    area, error = average_precision(np.array([0.0, 10.0]), np.array([3.0, 1.0]), False)
    worst = np.mean(np.arange(1, 11) / np.arange(2, 12))  # the bin's negative comes first
    assert area - error <= worst < 1.0 <= area + error

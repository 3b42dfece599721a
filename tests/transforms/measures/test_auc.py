from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from transforms.measures.auc import AucSample, binned_area, exact_area, score_bins


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


def _sample(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, 3)) * 4
    column = generator.integers(-1, 3, rows)
    logits[np.arange(rows), column] += 1
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return scores.astype(np.float32), column, generator.random(rows)


@pytest.mark.parametrize("bits", [4, 7])
def test_histogram_is_within_its_stated_error(bits: int) -> None:
    scores, column, weights = _sample(1, 4000)
    sample = AucSample(3, 10, bits)
    sample.add(scores, column, weights)
    assert not sample.exact
    for index, (area, error) in enumerate(sample.compute()):
        expected = roc_auc_score(column == index, scores[:, index], sample_weight=weights)
        assert 0 < error < (1e-2 if bits == 4 else 2e-3)
        assert abs(area - expected) <= error


@pytest.mark.parametrize("exact_rows", [10, 699, 700, 5000])
def test_the_split_makes_no_difference(exact_rows: int) -> None:
    scores, column, weights = _sample(2, 700)
    whole = AucSample(3, exact_rows, 7)
    whole.add(scores, column, weights)
    cuts = [0, 1, 5, 400, 401, 700]
    parts = []
    for begin, end in itertools.pairwise(cuts):
        part = AucSample(3, exact_rows, 7)
        part.add(scores[begin:end], column[begin:end], weights[begin:end])
        parts.append(part)
    merged = AucSample(3, exact_rows, 7)
    for index in (3, 0, 4, 2, 1):
        merged.merge(parts[index])
    assert merged.exact == whole.exact == (exact_rows >= 700)
    np.testing.assert_allclose(np.array(merged.compute()), np.array(whole.compute()), rtol=0, atol=1e-12)


def test_binned_area_of_nothing_is_nan() -> None:
    assert math.isnan(binned_area(np.zeros(3), np.ones(3)).area)
    assert math.isnan(AucSample(2, 5, 7).compute()[0].area)

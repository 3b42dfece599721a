from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from pipelines.training.calibrate import COLDEST, HOTTEST, calibrate, fit_temperature, negative_log_likelihood
from pipelines.training.features import Examples
from tests.transforms.model.builders import array
from transforms.model.head import Head, softmax


def miscalibrated(temperature: float, count: int = 20_000, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are ``temperature`` times too large for the targets drawn from them."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=1.5, size=(count, classes)).astype(np.float32)
    shares = softmax(logits).cumsum(axis=1)
    targets = (generator.uniform(size=(count, 1)) > shares).sum(axis=1).clip(0, classes - 1)
    return logits * np.float32(temperature), targets.astype(np.int32)


def doubles(probabilities: np.ndarray) -> np.ndarray:
    """Rows that sum to 1 in float64 too, as scikit-learn wants them."""
    wide = probabilities.astype(np.float64)
    return wide / wide.sum(axis=1, keepdims=True)


def identity_head(classes: int) -> Head:
    """A head whose logits are its vectors."""
    layers = ((np.eye(classes, dtype=np.float32), np.zeros(classes, np.float32)),)
    ones = np.ones(classes, np.float32)
    return Head(labels=tuple("abcdefgh"[:classes]), mean=0 * ones, std=ones, layers=layers)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_known_logits_is_found(temperature: float) -> None:
    logits, targets = miscalibrated(temperature)
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.03)


def test_it_is_the_minimum_that_scipy_finds() -> None:
    logits, targets = miscalibrated(2.5, count=500)
    found = minimize_scalar(lambda t: negative_log_likelihood(logits, targets, t), bounds=(0.1, 10), method="bounded")
    assert fit_temperature(logits, targets) == pytest.approx(found.x, rel=1e-4)


def test_the_likelihood_is_scikit_learns_and_survives_large_logits() -> None:
    logits, targets = miscalibrated(2.0, count=300)
    expected = log_loss(targets, doubles(softmax(logits)), labels=range(4))
    assert negative_log_likelihood(logits, targets) == pytest.approx(expected, rel=1e-5)
    assert negative_log_likelihood(array([1e4, 0], [0, 1e4]), np.array([0, 0])) == pytest.approx(5e3)


def test_logits_without_any_knowledge_get_the_hottest_and_too_shy_ones_the_coldest() -> None:
    generator = np.random.default_rng(1)
    noise = generator.normal(size=(400, 3)).astype(np.float32) * 100
    assert fit_temperature(noise, generator.integers(0, 3, 400).astype(np.int32)) == pytest.approx(HOTTEST)
    shy, targets = miscalibrated(0.01, count=2000)
    assert fit_temperature(shy, targets) == pytest.approx(COLDEST)


def test_a_head_that_is_always_right_keeps_its_temperature() -> None:
    assert fit_temperature(array([2, 0], [0, 1]), np.array([0, 1], np.int32)) == 1.0


def test_calibration_keeps_the_decisions_and_says_what_it_did() -> None:
    logits, targets = miscalibrated(3.0)
    head = identity_head(4)
    calibrated, fit = calibrate(head, Examples(vectors=logits, targets=targets))
    assert calibrated == dataclasses.replace(head, temperature=fit.temperature)
    before, after = head.probabilities(logits), calibrated.probabilities(logits)
    assert np.array_equal(before.argmax(axis=1), after.argmax(axis=1))
    assert fit.nll_before == pytest.approx(log_loss(targets, doubles(before)), rel=1e-3)
    assert fit.nll_after == pytest.approx(log_loss(targets, doubles(after)), rel=1e-3)
    assert fit.nll_after < fit.nll_before - 0.2
    assert fit.ece_before > 0.15
    assert fit.ece_after < 0.02


def test_the_calibration_error_is_that_of_the_definition() -> None:
    # Two rows of confidence .75, one right: |.5 - .75|; two of .9, both right: |1 - .9|; half of the rows each.
    logits = np.log(array([0.75, 0.25], [0.75, 0.25], [0.9, 0.1], [0.9, 0.1]))
    _, fit = calibrate(identity_head(2), Examples(vectors=logits, targets=np.array([0, 1, 0, 0], np.int32)))
    assert fit.ece_before == pytest.approx(0.5 * 0.25 + 0.5 * 0.1, abs=1e-6)

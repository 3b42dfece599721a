from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from pipelines.training.class_weights import parse_class_weights
from pipelines.training.features import Examples, fold_numbers
from pipelines.training.fit_head import L2_PATH, fit_head
from pipelines.training.fit_settings import FitSettings
from pipelines.training.standardise import standardisation
from tests.pipelines.training.builders import clouds
from transforms.errors import OptionError

LABELS = ("a", "b", "c")
GIVEN = FitSettings(l2_regularizer=0.01, learning_rate=0.01, train_epochs=30)


def examples(count: int, seed: int, classes: int = 3, **options) -> Examples:
    vectors, targets = clouds(count, classes, seed=seed, **options)
    return Examples(vectors=vectors, targets=targets)


TRAIN, VALIDATION, TEST = (examples(count, seed) for count, seed in ((300, 1), (150, 2), (600, 3)))


def kernel_norm(settings: FitSettings) -> float:
    return float(np.linalg.norm(fit_head(TRAIN, TRAIN, LABELS, settings).head.layers[0][0]))


def test_the_optimum_is_the_one_that_scikit_learn_finds() -> None:
    slow = {"learning_rate": 0.003, "learning_rate_schedule": "constant", "train_epochs": 300, "patience": 300}
    settings = FitSettings(l2_regularizer=0.05, **slow)
    # The training split as its own validation: no early stopping before the optimum. L2 is C = 1 / (2 n L2).
    fit = fit_head(TRAIN, TRAIN, LABELS, settings)
    scaler = StandardScaler().fit(TRAIN.vectors.astype(np.float64))
    oracle = LogisticRegression(C=1 / (2 * len(TRAIN.targets) * 0.05), max_iter=5000, tol=1e-9)
    oracle.fit(scaler.transform(TRAIN.vectors), TRAIN.targets)
    np.testing.assert_allclose(fit.head.std[:-1], scaler.scale_[:-1], rtol=1e-4)
    # small batches move round the optimum, and the epoch with the least loss is taken
    expected = oracle.predict_proba(scaler.transform(TEST.vectors))
    found = fit.head.probabilities(TEST.vectors)
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert np.abs(found - expected).mean() < 0.005


def test_the_default_finds_its_regulariser_and_is_as_good_as_the_oracle() -> None:
    folds = fold_numbers(TRAIN.targets, list(map(str, range(300))))
    fit = fit_head(TRAIN, VALIDATION, LABELS, FitSettings(learning_rate=0.005), folds)
    scaler = StandardScaler().fit(TRAIN.vectors)
    oracle = LogisticRegression(C=1.0).fit(scaler.transform(TRAIN.vectors), TRAIN.targets)
    best = oracle.score(scaler.transform(TEST.vectors), TEST.targets)
    found = (fit.head.probabilities(TEST.vectors).argmax(axis=1) == TEST.targets).mean()
    assert best > 0.8
    assert found >= best - 0.01
    assert sorted({attempt.fold for attempt in fit.attempts}) == [0, 1, 2, 3, 4]
    assert [attempt.fold for attempt in fit.attempts if attempt.kept] == [0, 1, 2, 3, 4]
    assert {attempt.l2_regularizer for attempt in fit.attempts} <= set(L2_PATH)


def test_the_heads_of_the_folds_are_averaged() -> None:
    settings = FitSettings(learning_rate=0.005, train_epochs=10)
    halves = np.arange(300) % 2
    both = fit_head(TRAIN, VALIDATION, LABELS, settings, halves)
    assert [attempt.fold for attempt in both.attempts if attempt.kept] == [0, 1]
    # Dealt out the other way round, the two heads change places and their mean stays.
    swapped = fit_head(TRAIN, VALIDATION, LABELS, settings, 1 - halves)
    np.testing.assert_allclose(swapped.head.layers[0][0], both.head.layers[0][0], atol=1e-6)
    alone = fit_head(TRAIN, VALIDATION, LABELS, settings)
    assert {attempt.fold for attempt in alone.attempts} == {-1}, "without folds the validation split decides"
    assert not np.allclose(alone.head.layers[0][0], both.head.layers[0][0], atol=1e-3)


def test_a_given_regulariser_and_hidden_layers_use_the_validation_split() -> None:
    folds = np.arange(300) % 5
    for settings in (GIVEN, FitSettings(hidden_units=(4,), train_epochs=2)):
        fit = fit_head(TRAIN, VALIDATION, LABELS, settings, folds)
        assert {attempt.fold for attempt in fit.attempts} == {-1}


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    settings = dataclasses.replace(GIVEN, dropout_rate=0.3, hidden_units=(8,), train_epochs=3)
    first, second = (fit_head(TRAIN, VALIDATION, LABELS, settings).head for _ in range(2))
    assert first.to_bytes() == second.to_bytes()
    other = fit_head(TRAIN, VALIDATION, LABELS, dataclasses.replace(settings, seed=1)).head
    assert other.to_bytes() != first.to_bytes()


def test_a_stronger_regulariser_shrinks_the_weights() -> None:
    norms = [kernel_norm(dataclasses.replace(GIVEN, l2_regularizer=l2)) for l2 in (0.0, 0.03, 1.0)]
    assert norms[0] > norms[1] * 1.1
    assert norms[1] > norms[2] * 4


def test_label_smoothing_makes_the_head_less_sure() -> None:
    def certainty(smoothing: float) -> float:
        settings = dataclasses.replace(GIVEN, l2_regularizer=0.0, label_smoothing=smoothing)
        return float(fit_head(TRAIN, VALIDATION, LABELS, settings).head.probabilities(TEST.vectors).max(axis=1).mean())

    assert certainty(0.4) < certainty(0.0) - 0.05


def test_dropout_is_on_while_training_and_off_afterwards() -> None:
    settings = dataclasses.replace(GIVEN, dropout_rate=0.5)
    fit = fit_head(TRAIN, VALIDATION, LABELS, settings)
    assert fit.head.to_bytes() != fit_head(TRAIN, VALIDATION, LABELS, GIVEN).head.to_bytes()
    assert (fit.head.probabilities(TEST.vectors).argmax(axis=1) == TEST.targets).mean() > 0.75


def test_a_class_weight_moves_the_decision_towards_its_class() -> None:
    def share_of_c(weights: str) -> float:
        fit = fit_head(TRAIN, VALIDATION, LABELS, dataclasses.replace(GIVEN, class_weights=weights))
        return float((fit.head.probabilities(TEST.vectors).argmax(axis=1) == 2).mean())

    assert share_of_c("c=0.05") + 0.15 < share_of_c("none") < share_of_c("c=20") - 0.15


def test_balanced_weights_raise_the_recall_of_a_rare_class() -> None:
    def with_few_of_b(part: Examples) -> Examples:
        common, rare = np.flatnonzero(part.targets == 0), np.flatnonzero(part.targets == 1)
        return part.take(np.concatenate([common, rare[: len(rare) // 10]]))

    train, held = with_few_of_b(TRAIN), with_few_of_b(VALIDATION)
    test = TEST.take(np.flatnonzero(TEST.targets < 2))

    def recall(weights: str) -> float:
        fit = fit_head(train, held, ("a", "b"), dataclasses.replace(GIVEN, class_weights=weights))
        predicted = fit.head.probabilities(test.vectors).argmax(axis=1)
        return float((predicted[test.targets == 1] == 1).mean())

    assert recall("balanced") > recall("none") + 0.1


def test_a_hidden_layer_learns_what_a_linear_head_cannot() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(800, 2)).astype(np.float32)
    both = Examples(vectors=vectors, targets=(vectors[:, 0] * vectors[:, 1] > 0).astype(np.int32))
    train, held = both.take(np.arange(600)), both.take(np.arange(600, 800))
    scores = []
    for units in ((), (16,)):
        settings = FitSettings(l2_regularizer=0.0, hidden_units=units, learning_rate=0.02, patience=20)
        head = fit_head(train, held, ("no", "yes"), settings).head
        assert [layer[0].shape for layer in head.layers] == ([(2, 16), (16, 2)] if units else [(2, 2)])
        scores.append((head.probabilities(held.vectors).argmax(axis=1) == held.targets).mean())
    assert scores[0] < 0.7 < 0.93 < scores[1]


def test_training_stops_early_and_restores_the_best_weights() -> None:
    # The labels of the training split are noise, so the loss elsewhere soon rises.
    noise = Examples(vectors=TRAIN.vectors, targets=np.random.default_rng(5).permutation(TRAIN.targets))
    settings = dataclasses.replace(GIVEN, l2_regularizer=0.0, learning_rate=0.05, train_epochs=60)
    settings = dataclasses.replace(settings, learning_rate_schedule="constant")
    fit = fit_head(noise, VALIDATION, LABELS, settings)
    assert fit.epochs < 60
    probabilities = fit.head.probabilities(VALIDATION.vectors)
    loss = -np.log(probabilities[np.arange(150), VALIDATION.targets]).mean()
    assert loss == pytest.approx(fit.validation_loss, rel=1e-4)
    assert fit.validation_loss == pytest.approx(fit.attempts[0].held_out_loss, rel=1e-5)
    longer = fit_head(noise, VALIDATION, LABELS, dataclasses.replace(settings, patience=60))
    assert longer.epochs >= fit.epochs
    assert longer.validation_loss == pytest.approx(fit.validation_loss, abs=0.02), "the best, not the last"


def test_a_learning_rate_that_diverges_is_told() -> None:
    settings = dataclasses.replace(GIVEN, learning_rate=1e38, train_epochs=2)
    with pytest.raises(OptionError, match=r"infinite at --learning-rate 1e\+38; lower it"):
        fit_head(TRAIN, VALIDATION, LABELS, settings)


def test_standardisation_leaves_constant_columns_alone() -> None:
    vectors = np.array([[1, 5, 1e6], [3, 5, 1e6 + 1]], np.float32)
    mean, std = standardisation(vectors)
    assert mean.tolist() == [2, 5, 1e6 + 0.5]
    assert std.tolist() == [1, 1, 1], "a deviation of 5e-7 of the mean is rounding"


def test_standardisation_by_blocks_equals_numpy() -> None:
    vectors = np.random.default_rng(0).normal(3, 2, (20_000, 3)).astype(np.float32)
    mean, std = standardisation(vectors)
    np.testing.assert_allclose(mean, vectors.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(std, vectors.std(axis=0, dtype=np.float64), rtol=1e-6)


def test_class_weights_are_read() -> None:
    counts = np.array([6, 3, 1])
    assert parse_class_weights("none", LABELS, counts).tolist() == [1, 1, 1]
    np.testing.assert_allclose(parse_class_weights("balanced", LABELS, counts), [10 / 18, 10 / 9, 10 / 3], rtol=1e-6)
    assert parse_class_weights("c=2.5,a=0.5", LABELS, counts).tolist() == [0.5, 1, 2.5]
    assert parse_class_weights('"x,y=3",p=q=2', ("p=q", "x,y"), counts[:2]).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("d=2", "'d' is no class; there are 'a', 'b', 'c'"),
        ("heavy", "must be balanced, none or label=weight,…, got 'heavy'"),
        ("a=much", "the weight of 'a' is no number: 'much'"),
        ("a=0", "weights must be positive, got 'a=0'"),
        ("a=nan", "weights must be positive"),
        ("a=inf", "weights must be positive"),
        ("", "must be balanced, none or label=weight"),
    ],
)
def test_class_weights_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_class_weights(text, LABELS, np.array([6, 3, 1]))


@pytest.mark.parametrize("l2", [0.001, None])
def test_the_two_solvers_reach_the_same_validation_loss(l2: float | None) -> None:
    train, held = examples(1200, 7, dimension=12, distance=1.0), examples(600, 8, dimension=12, distance=1.0)
    losses = []
    for solver, rate in (("direct", 0.003), ("adam", 0.003)):
        settings = FitSettings(solver=solver, l2_regularizer=l2, learning_rate=rate)
        losses.append(fit_head(train, held, LABELS, settings).validation_loss)
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    assert losses[0] < 1.0


def test_a_rate_that_anneals_reaches_the_same_validation_loss() -> None:
    train, held = examples(4800, 7, dimension=12, distance=1.0), examples(600, 8, dimension=12, distance=1.0)
    annealed = FitSettings(l2_regularizer=0.001, learning_rate_schedule="anneal", batch_size=32)
    constant = FitSettings(l2_regularizer=0.001, solver="adam", learning_rate=0.003, train_epochs=30)
    losses = [fit_head(train, held, LABELS, settings).validation_loss for settings in (annealed, constant)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    assert losses[0] < 1.0


def test_what_the_direct_solver_cannot_fit_goes_to_adam() -> None:
    assert FitSettings().plain
    assert not FitSettings(dropout_rate=0.1).plain
    assert not FitSettings(solver="adam").plain
    for options, flag in (({"hidden_units": (3,)}, "--hidden-units"), ({"dropout_rate": 0.1}, "--dropout-rate")):
        with pytest.raises(
            OptionError, match=f"direct fits the plain head only; leave out {flag}, or say --solver adam"
        ):
            FitSettings(solver="direct", **options)

"""Several labels an image: read, fitted, calibrated, measured, exported and scored."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.preprocessing import StandardScaler

from pipelines import score, train
from pipelines.training.calibrate import calibrate, fit_temperature, negative_log_likelihood
from pipelines.training.class_weights import parse_class_weights
from pipelines.training.features import Examples, fold_numbers, split_features, strata
from pipelines.training.fit_head import fit_head
from pipelines.training.fit_settings import FitSettings
from pipelines.training.measure import measure
from tests.pipelines.training.builders import features, make_table
from transforms.encoders.golden import golden_images
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import StoreError
from transforms.model.directory import ModelDirectory
from transforms.model.head import sigmoid

LABELS = ("dog", "house", "tree")


def scenes(count: int, seed: int, dimension: int = 6) -> Examples:
    """Vectors whose first three numbers tell, through noise, which of three things are there; one at least is."""
    generator = np.random.default_rng(seed)
    targets = generator.random((count, 3)) < (0.5, 0.4, 0.15)
    targets[~targets.any(axis=1), 0] = True
    vectors = generator.normal(size=(count, dimension))
    vectors[:, :3] += 2 * targets
    return Examples(vectors=vectors.astype(np.float32), targets=targets)


TRAIN, VALIDATION, TEST = scenes(400, 1), scenes(200, 2), scenes(500, 3)
SETTINGS = FitSettings(l2_regularizer=0.01, learning_rate=0.01, train_epochs=40)


def names(targets: np.ndarray) -> list[list[str]]:
    return [[LABELS[index] for index in np.flatnonzero(row)] for row in targets]


def test_labels_become_a_column_each_and_several_are_noticed() -> None:
    none = features(np.zeros((0, 2), np.float32), [])
    vectors = np.arange(8, dtype=np.float32).reshape(4, 2)
    held = features(vectors + 10, [["b"], ["a"], ["z", "a"], ["z"]])
    table = {"train": features(vectors, [["b"], ["a", "b"], ["a"], []]), "validation": held, "test": none}
    splits = split_features(table, "TABLE")
    assert (splits.labels, splits.foreign_labels) == (("a", "b"), ("z",))
    assert splits.train.targets.tolist() == [[False, True, False], [True, True, False], [True, False, False]]
    assert splits.validation.known(2).targets.tolist() == [[False, True], [True, False], [True, False]]
    assert splits.warnings[1].startswith("2 images have several labels, so each label gets a probability of its own")
    with pytest.raises(StoreError, match=r"2 images have several labels .*--labels-per-image several"):
        split_features(table, "TABLE", "one")
    single = {**table, "train": features(vectors, [["b"], ["a"], ["a"], []]), "validation": none}
    single["train"] = features(vectors, [["b"], ["a"], ["a"], ["b"]])
    assert split_features(single, "TABLE").train.targets.ndim == 1
    assert split_features(single, "TABLE", "several").train.targets.ndim == 2


def test_folds_spread_the_rarest_label() -> None:
    assert strata(np.array([[1, 1, 0], [1, 0, 1], [1, 0, 1], [1, 0, 0]], bool)).tolist() == [1, 2, 2, 0]
    folds = fold_numbers(TRAIN.targets, [str(row) for row in range(400)])
    shares = np.bincount(folds[TRAIN.targets[:, 2]], minlength=5)
    assert shares.max() - shares.min() <= 1


def test_each_label_is_a_logistic_regression_of_its_own() -> None:
    settings = dataclasses.replace(
        SETTINGS, train_epochs=300, learning_rate=0.003, patience=300, learning_rate_schedule="constant"
    )
    head = fit_head(TRAIN, TRAIN, LABELS, settings).head
    assert head.activation == "sigmoid"
    scaler = StandardScaler().fit(TRAIN.vectors)
    found = head.probabilities(TEST.vectors)
    for column in range(3):
        oracle = LogisticRegression(C=1 / (2 * 400 * 0.01), max_iter=1000)
        oracle.fit(scaler.transform(TRAIN.vectors), TRAIN.targets[:, column])
        expected = oracle.predict_proba(scaler.transform(TEST.vectors))[:, 1]
        assert np.abs(found[:, column] - expected).mean() < 0.01


def test_balanced_weights_find_more_of_the_rare_label_and_smoothing_makes_unsure() -> None:
    def mean(**options) -> np.ndarray:
        head = fit_head(TRAIN, VALIDATION, LABELS, dataclasses.replace(SETTINGS, **options)).head
        return head.probabilities(TEST.vectors)

    plain = mean()
    assert (mean(class_weights="balanced")[:, 2] >= 0.5).sum() > 1.3 * (plain[:, 2] >= 0.5).sum()
    assert np.abs(mean(label_smoothing=0.4) - 0.5).mean() < np.abs(plain - 0.5).mean() - 0.05
    weights = parse_class_weights("balanced", LABELS, np.array([200, 100, 50]), examples=400)
    assert weights.tolist() == [1, 3, 7]


def test_the_temperature_is_that_of_the_sigmoids() -> None:
    logits = np.random.default_rng(0).normal(scale=2, size=(5000, 4)).astype(np.float32)
    targets = np.random.default_rng(1).random((5000, 4)) < sigmoid(logits)
    assert fit_temperature(logits * 3, targets) == pytest.approx(3, rel=0.05)
    expected = sum(log_loss(targets[:, column], sigmoid(logits[:, column]).astype(float)) for column in range(4))
    assert negative_log_likelihood(logits, targets) == pytest.approx(expected, rel=1e-5)
    head, fit = calibrate(fit_head(TRAIN, VALIDATION, LABELS, SETTINGS).head, VALIDATION)
    assert fit.nll_after <= fit.nll_before
    assert head.temperature == fit.temperature


def test_the_metrics_are_scikit_learns() -> None:
    head = fit_head(TRAIN, VALIDATION, LABELS, SETTINGS).head
    figures = measure(head, TEST)
    assert figures is not None
    probabilities = head.probabilities(TEST.vectors)
    decided = probabilities >= 0.5
    assert figures["accuracy"] == pytest.approx((decided == TEST.targets).all(axis=1).mean())
    assert figures["decision_accuracy"] == pytest.approx((decided == TEST.targets).mean())
    for average in ("micro", "macro"):
        assert figures[average]["f1"] == pytest.approx(f1_score(TEST.targets, decided, average=average))
    assert figures["log_loss"] == pytest.approx(log_loss(TEST.targets.ravel(), probabilities.ravel().astype(float)))
    assert [entry["support"] for entry in figures["classes"]] == TEST.targets.sum(axis=0).tolist()
    assert 0 < figures["expected_calibration_error"] < 0.1


def test_from_a_store_to_predictions(
    tiny_encoder: EncoderSpecification, loaded_encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow as tf

    parts = [scenes(count, seed, tiny_encoder.dimension) for count, seed in ((200, 1), (60, 2), (60, 3))]
    labels = [row for part in parts for row in names(part.targets)]
    vectors = np.concatenate([part.vectors for part in parts])
    where = ["train"] * 200 + ["validation"] * 60 + ["test"] * 60
    golden = loaded_encoder.encode(golden_images(tiny_encoder))
    make_table(tmp_path / "store", vectors, labels, where, encoder=tiny_encoder, golden=golden)
    words = ["--store", tmp_path / "store", "--model", tmp_path / "m", "--l2-regularizer", "0.01"]
    assert train.main(list(map(str, words))) == 0
    assert "have several labels, so each label gets a probability of its own" in capsys.readouterr().err
    model = ModelDirectory.open(str(tmp_path / "m"))
    assert (model.head.activation, model.metrics["several_labels"]) == ("sigmoid", True)
    assert model.metrics["test"]["accuracy"] > model.metrics["test"]["majority_accuracy"]
    card = (tmp_path / "m" / "1" / "model_card.md").read_text()
    assert "A sigmoid head" in card
    assert "| micro F1 |" in card

    stream = io.BytesIO()
    Image.fromarray(golden_images(tiny_encoder)[0]).save(stream, "PNG")
    serve = tf.saved_model.load(model.path).signatures["serving_default"]
    served = serve(key=tf.constant(["k"]), image_bytes=tf.constant([stream.getvalue()]))
    expected = model.head.probabilities(golden[:1])
    np.testing.assert_allclose(served["scores"].numpy(), expected, atol=1e-5)
    assert served["predicted"].numpy().tolist() == model.head.decide(expected).tolist()

    out = ["--output", str(tmp_path / "out"), "--format", "parquet,csv,jsonl"]
    assert score.main(["--store", str(tmp_path / "store"), "--model", str(tmp_path / "m"), *out]) == 0
    rows = [row for path in (tmp_path / "out").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert len(rows) == 320
    for row in rows:
        assert row["activation"] == "sigmoid"
        pairs = zip(row["displayNames"], row["confidences"], strict=True)
        assert row["predicted"] == [name for name, confidence in pairs if confidence >= 0.5]
    assert {len(row["predicted"]) for row in rows} >= {1, 2}
    lines = [json.loads(line) for path in (tmp_path / "out").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert sorted(lines[0]["prediction"]["displayNames"]) == sorted(LABELS)
    assert any("|" in line.split(",")[3] for path in (tmp_path / "out").glob("*.csv") for line in path.open())

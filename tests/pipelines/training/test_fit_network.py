from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipelines.training import fit_network as module
from pipelines.training.batches import Batches
from pipelines.training.classifier import Classifier, with_head, with_new_head
from pipelines.training.cnn_settings import CnnSettings
from pipelines.training.features import Examples
from pipelines.training.fit_network import Epoch, fit_network
from pipelines.training.network_settings import NetworkSettings
from pipelines.training.networks import build_cnn
from transforms.errors import OptionError

SETTINGS = NetworkSettings(
    learning_rate=0.01,
    train_epochs=4,
    ema_epochs=0.5,
    batch_size=8,
    augment="texture",
    dropout_rate=0.2,
    warm_up_epochs=0.5,
)
TARGETS = (np.arange(48) % 2).astype(np.int32)
LABELS = ("dark", "light")


@pytest.fixture(scope="module")
def array() -> np.ndarray:
    """Dark and light noise."""
    noise = np.random.default_rng(1).integers(0, 120, (48, 8, 8, 3))
    return (noise + 110 * TARGETS[:, None, None, None]).astype(np.uint8)


def classifier(settings: NetworkSettings = SETTINGS, activation: str = "softmax") -> Classifier:
    encoder = build_cnn(8, 8, CnnSettings(filters=4, hidden_units=(6,)), settings.dropout_rate, settings.seed)
    return with_new_head(encoder, LABELS, activation, settings.dropout_rate, settings.seed)


def examples(rows: range, targets: np.ndarray = TARGETS) -> Examples:
    return Examples(vectors=np.array(rows, np.float32)[:, None], targets=targets[rows.start : rows.stop])


def fit(
    chosen: Classifier,
    array: np.ndarray,
    directory: Path,
    settings: NetworkSettings = SETTINGS,
    targets: np.ndarray = TARGETS,
    weights: tuple[float, float] = (1, 1),
) -> list[Epoch]:
    directory.mkdir(exist_ok=True)
    batches = Batches(array=array, size=settings.batch_size, augment=settings.augment, seed=settings.seed, threads=2)
    train, validation = examples(range(32), targets), examples(range(32, 48), targets)
    return fit_network(chosen, batches, train, validation, np.array(weights, np.float32), settings, str(directory))


def weights_of(chosen: Classifier) -> list[np.ndarray]:
    return [np.array(variable) for variable in chosen.trained]


def test_it_learns_and_says_how(array: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = classifier()
    before = weights_of(chosen)
    history = fit(chosen, array, tmp_path)
    assert [epoch.epoch for epoch in history] == [0, 1, 2, 3, 4]
    best = min(history, key=lambda epoch: epoch.validation_loss)
    assert best.epoch > 0
    assert best.validation_accuracy == 1.0
    assert best.validation_loss < 0.5 * history[0].validation_loss
    assert all((old != new).any() for old, new in zip(before, weights_of(chosen), strict=True))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("before training: validation loss ")
    assert [line.split(":")[0] for line in lines[1:]] == [f"epoch {n} of 4" for n in (1, 2, 3, 4)]


def test_the_best_weights_are_restored(array: np.ndarray, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, learning_rate=0.6, schedule="constant", patience=2, train_epochs=9)
    chosen = classifier(settings)
    history = fit(chosen, array, tmp_path, settings)
    best = min(history, key=lambda epoch: epoch.validation_loss)
    assert history[-1].epoch == best.epoch + 2 < 9  # patience ended it
    logits = chosen.logits(array[32:], False).numpy()
    losses = np.logaddexp(logits[:, 0], logits[:, 1]) - logits[np.arange(16), TARGETS[32:]]
    assert losses.mean() == pytest.approx(best.validation_loss, rel=1e-4)


@pytest.fixture(scope="module")
def uninterrupted(array: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    chosen = classifier()
    fit(chosen, array, tmp_path_factory.mktemp("whole"))
    return weights_of(chosen)


def test_the_same_seed_gives_the_same_weights(array: np.ndarray, uninterrupted: list, tmp_path: Path) -> None:
    again, other = classifier(), classifier(dataclasses.replace(SETTINGS, seed=1))
    fit(again, array, tmp_path / "again")
    fit(other, array, tmp_path / "other", dataclasses.replace(SETTINGS, seed=1))
    for expected, found, different in zip(uninterrupted, weights_of(again), weights_of(other), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert (found != different).any()


@pytest.mark.parametrize("saves", [1, 3, 6])
def test_a_killed_training_goes_on_to_the_same_weights(
    array: np.ndarray, uninterrupted: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int
) -> None:
    """Checkpoints after every step and epoch; the process dies right after one of them."""
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", -1.0)
    real, left = module.save_checkpoint, [saves]

    def save(*arguments: object) -> None:
        real(*arguments)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_checkpoint", save)
    with pytest.raises(KeyboardInterrupt):
        fit(classifier(), array, tmp_path)
    monkeypatch.setattr(module, "save_checkpoint", real)
    second = classifier(dataclasses.replace(SETTINGS, seed=5))  # whatever it begins with, the checkpoint counts
    second = dataclasses.replace(second, seed=SETTINGS.seed)
    history = fit(second, array, tmp_path)
    assert [epoch.epoch for epoch in history] == [0, 1, 2, 3, 4]
    for found, expected in zip(weights_of(second), uninterrupted, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("ema_epochs", "momentum"), [(0.5, 0.5), (1.0, 0.75), (0.0, 0.0)])
def test_what_is_measured_and_kept_is_the_average_of_the_weights(
    array: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema_epochs: float, momentum: float
) -> None:
    """Four steps an epoch; the weights after each come from the checkpoints, which keep what training goes on with."""
    steps: list[list[np.ndarray]] = []
    chosen = classifier()
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(module, "save_checkpoint", lambda *_: steps.append(weights_of(chosen)))
    settings = dataclasses.replace(SETTINGS, train_epochs=1, warm_up_epochs=0.0, ema_epochs=ema_epochs)
    history = fit(chosen, array, tmp_path, settings)
    assert history[1].validation_loss < history[0].validation_loss
    average = steps[1]
    for weights in steps[2:]:
        average = [momentum * old + (1 - momentum) * new for old, new in zip(average, weights, strict=True)]
    for found, expected in zip(weights_of(chosen), average, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_finished_training_is_not_repeated(array: np.ndarray, tmp_path: Path) -> None:
    first = fit(classifier(), array, tmp_path)
    again = classifier()
    assert str(fit(again, array, tmp_path)) == str(first)  # nan is not equal to itself


def test_several_labels_an_image(array: np.ndarray, tmp_path: Path) -> None:
    targets = np.stack([TARGETS == 1, np.ones(48)], axis=1).astype(bool)
    settings = dataclasses.replace(SETTINGS, train_epochs=8, augment="none")
    history = fit(classifier(settings, "sigmoid"), array, tmp_path, settings, targets)
    assert max(epoch.validation_accuracy for epoch in history) == 1.0


def test_class_weights_tilt_the_answer(array: np.ndarray, tmp_path: Path) -> None:
    grey = np.full_like(array, 128)  # nothing to learn but how often a class occurs
    settings = dataclasses.replace(SETTINGS, augment="none", dropout_rate=0.0, train_epochs=8)
    shares = []
    for place, weights in enumerate([(1.0, 9.0), (9.0, 1.0)]):
        chosen = classifier(settings)
        fit(chosen, grey, tmp_path / str(place), settings, weights=weights)
        logits = chosen.logits(grey[:1], False).numpy()[0]
        shares.append(logits[1] - logits[0])
    assert shares[0] > 1 > -1 > shares[1]


def test_frozen_blocks_stay_as_they_are(array: np.ndarray, tmp_path: Path) -> None:
    encoder = build_cnn(8, 8, CnnSettings(depth=2, filters=4, hidden_units=(6,)), 0.0, 0)
    head = with_new_head(encoder, LABELS, "softmax", 0.0, 0).start
    chosen = with_head(encoder, head, 1, 0.0, 0)
    before = [[np.array(variable) for variable in block] for block in encoder.blocks]
    fit(chosen, array, tmp_path)
    changed = [
        any((np.array(variable) != old).any() for variable, old in zip(block, values, strict=True))
        for block, values in zip(encoder.blocks, before, strict=True)
    ]
    assert changed == [False, False, True]


def test_a_learning_rate_far_too_high_is_named(array: np.ndarray, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, learning_rate=1e30, augment="none")
    with pytest.raises(OptionError, match=r"the loss became infinite at --learning-rate 1e\+30; lower it"):
        fit(classifier(settings), array, tmp_path, settings)

from __future__ import annotations

import argparse
from typing import Any

import pytest

from pipelines.training.cnn_settings import CnnSettings, add_cnn_flags, cnn_settings
from pipelines.training.fit_network import learning_rate
from pipelines.training.network_settings import NetworkSettings, add_network_flags, network_settings
from transforms.errors import OptionError


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dropout_rate", 1.0, "--dropout-rate must be in [0, 1), got 1.0"),
        ("label_smoothing", -0.1, "--label-smoothing must be in [0, 1), got -0.1"),
        ("learning_rate", 0.0, "--learning-rate must be positive, got 0.0"),
        ("learning_rate", float("nan"), "--learning-rate must be positive, got nan"),
        ("l2_regularizer", -1.0, "--l2-regularizer must be 0 or positive, got -1.0"),
        ("ema_epochs", -1.0, "--ema-epochs must be 0 or positive, got -1.0"),
        ("warm_up_epochs", 30.0, "--warm-up-epochs must be 0 or more and below --train-epochs 30"),
        ("schedule", "steps", "--schedule must be cosine or constant, got 'steps'"),
        ("augment", "weird", "no augmentation policy 'weird', only natural, document, medical, texture"),
        ("seed", -1, "--seed must be in [0, 2147483648), got -1"),
    ],
)
def test_what_cannot_be_is_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        NetworkSettings(**{field: value})
    assert message in str(caught.value)


def test_flags_give_the_settings() -> None:
    parser = argparse.ArgumentParser()
    add_network_flags(parser, NetworkSettings())
    assert network_settings(parser.parse_args([])) == NetworkSettings()
    assert network_settings(parser.parse_args(["--train-epochs", "1"])).warm_up_epochs == 0.5
    words = "--learning-rate 0.01 --schedule constant --warm-up-epochs 0.5 --train-epochs 3 --patience 2 --batch-size 8"
    words += (
        " --augment texture --dropout-rate 0.1 --l2-regularizer 0.001 --label-smoothing 0.2 --class-weights balanced"
    )
    assert network_settings(parser.parse_args([*words.split(), "--seed", "7"])) == NetworkSettings(
        learning_rate=0.01,
        schedule="constant",
        warm_up_epochs=0.5,
        train_epochs=3,
        patience=2,
        batch_size=8,
        augment="texture",
        dropout_rate=0.1,
        l2_regularizer=0.001,
        label_smoothing=0.2,
        class_weights="balanced",
        seed=7,
    )


def test_the_learning_rate_rises_and_falls() -> None:
    settings = NetworkSettings(learning_rate=1.0, warm_up_epochs=1.0, train_epochs=5)
    rates = [learning_rate(settings, step, 4) for step in range(20)]
    assert rates[:4] == [0.2, 0.4, 0.6, 0.8]
    assert rates[4] == 1.0
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.02
    constant = NetworkSettings(learning_rate=1.0, warm_up_epochs=0.0, schedule="constant")
    assert {learning_rate(constant, step, 4) for step in range(100)} == {1.0}


@pytest.mark.parametrize(
    ("height", "width", "filters"),
    [
        (28, 28, (32, 64)),
        (224, 224, (32, 64, 128, 256, 256)),
        (32, 48, (32, 64, 128)),
        (8, 8, (32,)),
    ],
)
def test_the_depth_follows_from_the_size(height: int, width: int, filters: tuple[int, ...]) -> None:
    assert CnnSettings().modules(height, width) == filters


def test_the_shape_can_be_said_and_must_be_possible() -> None:
    parser = argparse.ArgumentParser()
    add_cnn_flags(parser)
    assert cnn_settings(parser.parse_args([])) == CnnSettings()
    words = ["--depth", "3", "--filters", "16", "--kernel-size", "5", "--hidden-units", "64,32"]
    settings = cnn_settings(parser.parse_args(words))
    assert settings == CnnSettings(depth=3, filters=16, kernel_size=5, hidden_units=(64, 32))
    assert settings.modules(64, 64) == (16, 32, 64)
    with pytest.raises(OptionError, match="--depth 3 halves images of 7x7 to nothing; give at most 2"):
        settings.modules(7, 7)
    for words, message in (
        (["--depth", "0"], "--depth must be from 1 to 10, or auto, got '0'"),
        (["--depth", "deep"], "--depth must be from 1 to 10, or auto, got 'deep'"),
        (["--depth", "11"], "--depth must be from 1 to 10"),
        (["--filters", "0"], "--filters must be from 1 to 256, got 0"),
        (["--kernel-size", "4"], "--kernel-size must be odd and positive, such as 3, got 4"),
        (["--hidden-units", ""], "--hidden-units must be one positive number or more"),
        (["--hidden-units", "many"], "--hidden-units must be numbers such as 128"),
    ):
        with pytest.raises(OptionError, match=message.replace("(", r"\(")):
            cnn_settings(parser.parse_args(words))

from __future__ import annotations

from typing import Any

import pytest

from pipelines import options
from pipelines.training.fit_settings import FitSettings, add_fit_flags, fit_arguments, fit_settings
from transforms.errors import OptionError


def parse(*argv: str) -> FitSettings:
    parser = options.command_parser("train", "test")
    add_fit_flags(parser)
    return fit_settings(parser.parse_args(argv))


def test_no_flag_gives_the_defaults() -> None:
    assert parse() == FitSettings()
    assert fit_arguments(FitSettings()) == []


def test_flags_and_settings_are_each_others_inverse() -> None:
    words = "--dropout-rate 0.2 --l2-regularizer 0.01 --label-smoothing 0.1 --learning-rate 0.01 --train-epochs 7"
    words += " --batch-size 32 --class-weights a=2,b=0.5 --hidden-units 256,16 --seed 3"
    settings = parse(*words.split())
    assert settings == FitSettings(
        dropout_rate=0.2,
        l2_regularizer=0.01,
        label_smoothing=0.1,
        learning_rate=0.01,
        train_epochs=7,
        batch_size=32,
        class_weights="a=2,b=0.5",
        hidden_units=(256, 16),
        seed=3,
    )
    assert fit_arguments(settings) == words.split()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--dropout-rate 1.5", r"--dropout-rate must be in \[0, 1\), got 1.5"),
        ("--dropout-rate nan", "--dropout-rate must be"),
        ("--dropout-rate much", "--dropout-rate: invalid float value: 'much'"),
        ("--label-smoothing -0.1", r"--label-smoothing must be in \[0, 1\), got -0.1"),
        ("--learning-rate 0", "--learning-rate must be positive, got 0.0"),
        ("--learning-rate inf", "--learning-rate must be positive, got inf"),
        ("--train-epochs 0", "--train-epochs: must be positive, got 0"),
        ("--batch-size -1", "--batch-size: must be positive, got -1"),
        ("--l2-regularizer -1", "--l2-regularizer must be auto, 0 or positive, got -1.0"),
        ("--l2-regularizer nan", "--l2-regularizer must be auto, 0 or positive"),
        ("--l2-regularizer strong", "--l2-regularizer must be auto, 0 or positive, got 'strong'"),
        ("--hidden-units 256,x", "--hidden-units must be numbers such as 256 or 512,256, got '256,x'"),
        ("--hidden-units 0", "--hidden-units must be positive, got 0"),
        ("--seed -1", r"--seed must be in \[0, 2147483648\), got -1"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_may_be(argv: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse(*argv.split())


@pytest.mark.parametrize("field", [{"patience": 0}, {"train_epochs": 0}, {"batch_size": 0}])
def test_settings_are_checked_without_the_command_line_too(field: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="must be positive, got 0"):
        FitSettings(**field)

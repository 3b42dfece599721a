from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from pipelines.training.target import Target, add_target_arguments, given_target
from transforms.errors import OptionError, QualityGateError


def target(least: float | None) -> Target:
    return Target(model="/m", assert_accuracy_at_least=least, labels_output_file=None)


def test_the_gate_looks_at_test_and_without_it_at_validation() -> None:
    good, bad = {"accuracy": 0.9, "rows": 10}, {"accuracy": 0.7, "rows": 1234}
    target(0.9).check_accuracy({"validation": bad, "test": good})
    target(0.9).check_accuracy({"validation": good, "test": None})
    target(None).check_accuracy({"validation": bad, "test": bad})
    with pytest.raises(QualityGateError, match=r"accuracy 0\.7000 on the test split \(1,234 images\) is below .*0\.8;"):
        target(0.8).check_accuracy({"validation": good, "test": bad})
    with pytest.raises(QualityGateError, match="on the validation split"):
        target(0.8).check_accuracy({"validation": bad, "test": None})


@pytest.mark.parametrize("least", ["-0.1", "80", "nan"])
def test_a_threshold_that_is_no_accuracy_is_refused(tmp_path: Path, least: str) -> None:
    parser = argparse.ArgumentParser()
    add_target_arguments(parser)
    flags = parser.parse_args(["--model", str(tmp_path / "m"), f"--assert-accuracy-at-least={least}"])
    with pytest.raises(OptionError, match=r"--assert-accuracy-at-least must be in \[0, 1\], such as 0\.8, got"):
        given_target(flags)

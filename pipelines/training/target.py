"""Where a training's model goes, and how good it must be to go there: what train, cnn and finetune share."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.training import export, publish
from transforms.errors import OptionError, QualityGateError
from transforms.files.filesystem import absolute
from transforms.model.directory import ModelDirectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """Part of a training's configuration.

    Attributes:
      model: absolute address of the directory that versions are made in.
      assert_accuracy_at_least: below it nothing is exported; None for any accuracy.
      labels_output_file: address of one more file with the labels.
    """

    model: str
    assert_accuracy_at_least: float | None
    labels_output_file: str | None

    def check_accuracy(self, metrics: Mapping[str, Any]) -> None:
        """Compares the accuracy on the test split, or else on the validation split, with the one that is demanded.

        Raises:
          QualityGateError: it is lower.
        """
        if self.assert_accuracy_at_least is None:
            return
        split = "test" if metrics["test"] else "validation"
        accuracy, rows = metrics[split]["accuracy"], metrics[split]["rows"]
        if accuracy < self.assert_accuracy_at_least:
            raise QualityGateError(
                f"accuracy {accuracy:.4f} on the {split} split ({rows:,} images) is below "
                f"--assert-accuracy-at-least {self.assert_accuracy_at_least:g}; the model is not exported"
            )

    def reach(self, digest: str, make: Callable[[], ModelDirectory]) -> tuple[ModelDirectory, bool]:
        """Returns the version that equal data and configuration made already, else the one that is made now.

        Args:
          digest: the same for equal data, settings and code.
          make: trains and publishes.

        Returns:
          The version, and whether it was made now.

        Raises:
          KeyboardInterrupt: on Ctrl-C, with the version's address if it is there.
          QualityGateError: the version that is there is not good enough.
        """
        found = publish.find_same(self.model, digest)
        with publish.telling_of_published(self.model, digest):
            if found is not None:
                self.check_accuracy(found.metrics)
            model = found or make()
            if self.labels_output_file:
                export.write_labels(self.labels_output_file, model.labels)
        return model, found is None


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each field of Target."""
    parser.add_argument("--model", required=True, help="directory of the model; versions 1, 2 … are made in it")
    parser.add_argument(
        "--assert-accuracy-at-least",
        type=float,
        metavar="X",
        help="fail and export nothing below this accuracy on the test split (without one: validation)",
    )
    parser.add_argument("--labels-output-file", metavar="F", help="write the labels there, in the outputs' order")


def given_target(flags: argparse.Namespace) -> Target:
    """Returns what the flags say.

    Raises:
      ModelError: no version can be written there.
      OptionError: an accuracy outside [0, 1].
    """
    least = flags.assert_accuracy_at_least
    if least is not None and not 0 <= least <= 1:
        raise OptionError(f"--assert-accuracy-at-least must be in [0, 1], such as 0.8, got {least:g}")
    publish.check_target(flags.model)
    return Target(
        model=absolute(flags.model), assert_accuracy_at_least=least, labels_output_file=flags.labels_output_file
    )

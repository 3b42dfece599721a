"""Class weights: how much an example counts in the loss, by its class."""

from __future__ import annotations

import csv
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.training.features import Examples, some_of
from transforms.errors import OptionError
from transforms.model.head import Array


def class_weights_of(train: Examples, labels: Sequence[str], text: str) -> Array:
    """Returns a weight for each class, as parse_class_weights, from the examples that are trained on."""
    examples = len(train.targets) if train.several else None
    return parse_class_weights(text, labels, train.counts(len(labels)), examples)


def parse_class_weights(
    text: str, labels: Sequence[str], counts: npt.NDArray[np.int64], examples: int | None = None
) -> Array:
    """Returns a weight for each class.

    ``balanced`` gives ``examples / (classes * examples of the class)``, or with several labels an image, where
    the weight is that of having the label, ``examples without it / examples with it``. A label that
    ``label=weight,…`` does not name weighs 1; one with a comma is put into double quotes together with its weight.

    Args:
      text: as FitSettings.class_weights.
      labels: names of the classes.
      counts: training examples of each class, positive.
      examples: of several labels each; None for one label each.

    Raises:
      OptionError: for a label that is none of the classes, or a weight that is not positive.
    """
    if text == "none":
        return np.ones(len(labels), np.float32)
    if text == "balanced" and examples is not None:
        return (np.maximum(examples - counts, 1) / counts).astype(np.float32)
    if text == "balanced":
        return (counts.sum() / (len(labels) * counts)).astype(np.float32)
    weights = np.ones(len(labels), np.float32)
    for item in next(csv.reader([text]), []) or [""]:
        label, equals, number = item.rpartition("=")
        if not equals:
            raise OptionError(f"--class-weights must be balanced, none or label=weight,…, got {text!r}")
        if label not in labels:
            raise OptionError(f"--class-weights: {label!r} is no class; there are {some_of(labels)}")
        try:
            weights[list(labels).index(label)] = float(number)
        except ValueError:
            raise OptionError(f"--class-weights: the weight of {label!r} is no number: {number!r}") from None
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise OptionError(f"--class-weights: weights must be positive, got {text!r}")
    return weights

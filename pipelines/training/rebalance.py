"""Re-balancing: weights of training examples that make every subgroup have the same share of each label.

F. Kamiran and T. Calders, Data preprocessing techniques for classification without discrimination, 2012.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.training.features import Examples, Splits
from transforms.model.head import Array

LARGE = 20.0
"""A weight above this rests on so few examples that it is told."""


class Cell(NamedTuple):
    """The examples of one value of the attribute and one label.

    Attributes:
      value: of the attribute.
      label: of the examples.
      rows: number of them.
      weight: of each; None when there are none.
    """

    value: str
    label: str
    rows: int
    weight: float | None


def rebalance(splits: Splits, attribute: str) -> Splits:
    """Returns the splits with weights for training and validation, each after its own shares of labels."""
    classes = len(splits.labels)
    return dataclasses.replace(
        splits,
        train=_weighted(splits.train, attribute, classes),
        validation=_weighted(splits.validation, attribute, classes),
    )


def _weighted(examples: Examples, attribute: str, classes: int) -> Examples:
    known = examples.targets < classes
    weights = np.ones(len(known), np.float32)
    weights[known] = balancing_weights(examples.values(attribute)[known], examples.targets[known])
    return dataclasses.replace(examples, weights=weights)


def balancing_weights(values: Any, targets: Any) -> Array:
    """Returns ``rows of the value × rows of the label / (rows × rows of both)`` for each row, ``float32[N]``.

    Weighted so, each subgroup has the label shares of all, counts as much as before, and so does each label. Rows
    without a value weigh 1.
    """
    weights = np.ones(len(values), np.float32)
    valued = np.flatnonzero(values != "")
    _, groups = np.unique(values[valued], return_inverse=True)
    _, labels = np.unique(targets[valued], return_inverse=True)
    if valued.size:
        counts = np.zeros((groups.max() + 1, labels.max() + 1))
        np.add.at(counts, (groups, labels), 1)
        expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
        weights[valued] = expected[groups, labels] / counts[groups, labels]
    return weights


def cells(splits: Splits, attribute: str) -> list[Cell]:
    """Returns the cause and its remedy: the training examples by value and label, and what they weigh."""
    values, targets = splits.train.values(attribute), splits.train.targets
    weights, found = balancing_weights(values, targets), []
    for value in sorted(set(values.tolist()) - {""}):
        for column, label in enumerate(splits.labels):
            here = (values == value) & (targets == column)
            weight = float(weights[here][0]) if here.any() else None
            found.append(Cell(value, label, int(here.sum()), weight))
    return found


def remarks(table: Sequence[Cell], attribute: str) -> list[str]:
    """Returns what a person should know of the weights, a sentence each."""
    found = []
    for cell in table:
        whose = f"{attribute} {cell.value!r}"
        if cell.weight is None:
            found.append(f"--rebalance: no training image of {whose} is {cell.label!r}, and no weight can mend that")
        elif cell.weight > LARGE:
            found.append(
                f"--rebalance: the {cell.rows:,} training images of {whose} that are {cell.label!r} weigh "
                f"{cell.weight:.1f} each, so much rests on each of them; embed more"
            )
    return found

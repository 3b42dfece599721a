"""MinDiff: a term of the loss that draws the score distributions of a subgroup and of the rest together.

F. Prost et al., Toward a better trade-off between performance and fairness with kernel-based distribution matching,
2019. The distance is the maximum mean discrepancy of A. Gretton et al., A kernel two-sample test, 2012.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.features import Examples, some_of
from transforms.encoders.tensorflow_runtime import import_tensorflow
from transforms.errors import OptionError
from transforms.model.head import Array

GAUSSIAN, LAPLACIAN = "gaussian", "laplacian"
KERNELS = (GAUSSIAN, LAPLACIAN)
NEGATIVES, POSITIVES = "negatives", "positives"
SIDES = (NEGATIVES, POSITIVES)

LENGTH = 0.1
"""Of the kernel, on probabilities."""

FEWEST = 10
"""Training images that each of the two groups has at least."""

_DRAWN = 512  # of each group in a step, at most
_EPSILON = 1e-12

Rows = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinDiff:
    """The term that is added to the loss.

    Attributes:
      attribute: that makes the subgroup.
      values: of the subgroup; the rest are images with another value.
      weight: of the term, positive.
      kernel: one of KERNELS.
      side: whose scores are to be alike: images without the class (false positives) or with it (false negatives).
      label: the class whose probability is the score; empty for the second of two.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """

    attribute: str
    values: tuple[str, ...]
    weight: float = 1.5
    kernel: str = GAUSSIAN
    side: str = NEGATIVES
    label: str = ""

    def __post_init__(self) -> None:
        if not self.attribute or not all(self.values):
            raise OptionError(f"--mindiff must be ATTRIBUTE:VALUE or ATTRIBUTE:VALUE,VALUE, got {str(self)!r}")
        if not 0 < self.weight < float("inf"):
            raise OptionError(f"--mindiff-weight must be positive, such as 1.5, got {self.weight:g}")

    def __str__(self) -> str:
        return f"{self.attribute}:{','.join(self.values)}"


def positive_column(labels: Sequence[str], label: str) -> int:
    """Returns the place of the positive class: the named one, else the second of two.

    Raises:
      OptionError: it is none of the classes, or is not named and there are more than two.
    """
    if label and label not in labels:
        raise OptionError(f"--positive-label: {label!r} is no class; there are {some_of(labels)}")
    if not label and len(labels) > 2:
        raise OptionError(
            f"--positive-label must name the class whose errors are to be alike; there are {some_of(labels)}"
        )
    return list(labels).index(label) if label else 1


class Constraint:
    """A MinDiff of known labels: who is in which group, and the minibatches that hold both.

    Args:
      settings: see there.
      column: of the class.
      train: of which each group has FEWEST images at least.

    Raises:
      OptionError: a group is too small.
    """

    def __init__(self, settings: MinDiff, column: int, train: Examples) -> None:
        self.settings, self.column = settings, column
        for rows, whose in zip(self.sides(train), ("with the value", "with another value"), strict=True):
            if len(rows) < FEWEST:
                there = ", ".join(map(repr, sorted(set(train.values(settings.attribute).tolist()) - {""})[:10]))
                raise OptionError(
                    f"--mindiff {settings}: {len(rows)} training images {whose} are {settings.side} of the class, "
                    f"and {FEWEST} are needed; name values that more images have (there are {there})"
                )

    def sides(self, examples: Examples) -> tuple[Rows, Rows]:
        """Returns the rows of the subgroup and of the rest that count: the class' negatives or positives."""
        values = examples.values(self.settings.attribute)
        counted = (examples.targets == self.column) == (self.settings.side == POSITIVES)
        inside = np.isin(values, self.settings.values)
        return np.flatnonzero(counted & inside), np.flatnonzero(counted & ~inside & (values != ""))

    def sample(self, examples: Examples) -> tuple[Examples, Array]:
        """Returns as many rows of both groups as a step has, evenly, and which are of the subgroup (0 or 1)."""
        sides = [rows[:: -(-len(rows) // _DRAWN)] if len(rows) else rows for rows in self.sides(examples)]
        return examples.take(np.concatenate(sides)), self.members([len(rows) for rows in sides])

    def draw(
        self, sides: tuple[Rows, Rows], steps: int, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.int32], Array]:
        """Returns the rows of both groups for each step, ``int32[steps, both]``, and which are of the subgroup."""
        sizes = [min(len(rows), _DRAWN) for rows in sides]
        drawn = [np.resize(generator.permutation(rows), (steps, size)) for rows, size in zip(sides, sizes, strict=True)]
        return np.concatenate(drawn, axis=1).astype(np.int32), self.members(sizes)

    def members(self, sizes: Sequence[int]) -> Array:
        """Returns ones for the first group and zeros for the second."""
        return np.repeat(np.array([1, 0], np.float32), sizes)

    def penalty(self, logits: Any, members: Any, weights: Any) -> Any:
        """Returns the weighted discrepancy of tensors: logits ``[B, C]``, members and weights ``[B]``."""
        scores = import_tensorflow().nn.softmax(logits)[:, self.column]
        return self.settings.weight * _discrepancy(scores, members, weights, self.settings.kernel)


def discrepancy(scores: Array, members: Array, weights: Array | None = None, kernel: str = GAUSSIAN) -> float:
    """Returns the maximum mean discrepancy ``E[K++] − 2 E[K+−] + E[K−−]`` of two groups of scores.

    Args:
      scores: ``float32[N]``, probabilities.
      members: ``[N]``, 1 for the first group and 0 for the second.
      weights: ``[N]``, not negative, multiplied pairwise; all alike by default.
      kernel: one of KERNELS, of length LENGTH.

    Raises:
      OptionError: a weight is negative.
    """
    weights = np.ones(len(scores), np.float32) if weights is None else np.asarray(weights, np.float32)
    if (weights < 0).any():
        raise OptionError(f"weights of MinDiff must not be negative, got {weights.min():g}")
    tf = import_tensorflow()
    tensors = [tf.constant(np.asarray(array, np.float32)) for array in (scores, members, weights)]
    return float(_discrepancy(tensors[0], tensors[1], tensors[2], kernel))


def _discrepancy(scores: Any, members: Any, weights: Any, kernel: str) -> Any:
    tf = import_tensorflow()
    distance = tf.abs(scores[:, None] - scores[None])
    alike = tf.exp(-tf.square(distance / LENGTH)) if kernel == GAUSSIAN else tf.exp(-distance / LENGTH)
    first, second = members * weights, (1 - members) * weights

    def mean(left: Any, right: Any) -> Any:
        """Of the kernel between two groups; pairs weigh the product of their weights."""
        pairs = tf.einsum("i,ij,j->", left, alike, right)
        return pairs / (tf.reduce_sum(left) * tf.reduce_sum(right) + _EPSILON)

    return mean(first, first) - 2 * mean(first, second) + mean(second, second)

"""What a model answers, given its probabilities: one of its labels, several, or none of these."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.errors import ModelError

NONE_OF_THESE = "none of these"
"""The answer when no label is; a class that was trained under this name means the same."""

DECISION = 0.5
"""The probability from which on a sigmoid head says that an image has a label, unless the label has a threshold."""

NEVER = 2.0
"""The threshold of a class that is never answered."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceThresholds:
    """Thresholds of one class that depend on an attribute of the image.

    Attributes:
      attribute: its name.
      column: place of the class.
      thresholds: by value, positive; an image with another value, or none, has the class' common threshold.
    """

    attribute: str
    column: int
    thresholds: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """From probabilities to an answer; without thresholds it is the class of the highest confidence.

    An image whose highest confidence is below ``none_below`` is none of these. Otherwise, of one label an image: of the
    classes that reach a threshold of their own, the one with the highest confidence relative to its threshold; when
    none does, the most confident class without a threshold; when every class has one, none of these. Of several labels
    an image: each that reaches its threshold.

    Attributes:
      thresholds: of each class, positive, above 1 for never; None for a class without. Empty: no class has one.
      none_below: in [0, 1).
      slices: thresholds that come before one of these where the attribute is known; None for none.

    Raises:
      ModelError: for numbers outside of that.
    """

    thresholds: tuple[float | None, ...] = ()
    none_below: float = 0.0
    slices: SliceThresholds | None = None

    def __post_init__(self) -> None:
        if not all(value is None or 0 < value < np.inf for value in self.thresholds):
            raise ModelError(f"decision: thresholds must be positive, got {list(self.thresholds)[:10]}")
        if self.slices and not all(0 < value < np.inf for value in self.slices.thresholds.values()):
            raise ModelError(f"decision: thresholds of slices must be positive, got {self.slices.thresholds}")
        if self.slices and (self.slices.column >= len(self.thresholds) or not self.thresholds[self.slices.column]):
            raise ModelError("decision: thresholds of slices need a common one of their class")
        if not 0 <= self.none_below < 1:
            raise ModelError(f"decision: none_below must be in [0, 1), got {self.none_below}")

    @property
    def always_first(self) -> bool:
        """Whether the answer is always the class of the highest confidence."""
        return not self.none_below and not any(value is not None for value in self.thresholds)

    def limits(self, without: float) -> npt.NDArray[np.float32]:
        """Returns the thresholds as ``float32[C]``, ``without`` for a class that has none."""
        return np.array([without if value is None else value for value in self.thresholds], np.float32)

    def limits_of(self, without: float, values: Sequence[str] | None) -> npt.NDArray[np.float32]:
        """Returns the thresholds of rows with these values of the slices' attribute, ``float32[1 or N, C]``."""
        limits = self.limits(without)[None]
        if self.slices is None or values is None:
            return limits
        limits, column = np.repeat(limits, len(values), axis=0), self.slices.column
        common = limits[0, column] if len(limits) else 0.0
        limits[:, column] = [self.slices.thresholds.get(value, common) for value in values]
        return limits

    def decide_one(
        self, probabilities: npt.NDArray[np.float32], values: Sequence[str] | None = None
    ) -> npt.NDArray[np.bool_]:
        """Maps ``float32[N, C]`` of a softmax to the answers, one true a row or none; among equals the first.

        Args:
          probabilities: of each class.
          values: of the slices' attribute, empty for none; None when nobody knows any.
        """
        chosen, answered = probabilities.argmax(axis=1), self._sure_enough(probabilities)
        if any(value is not None for value in self.thresholds):
            limits = self.limits_of(np.inf, values)
            ratios, free = probabilities / limits, np.where(np.isinf(limits), probabilities, np.float32(-1))
            reached = ratios.max(axis=1) >= 1
            chosen = np.where(reached, ratios.argmax(axis=1), free.argmax(axis=1))
            answered &= reached | (free.max(axis=1) >= 0)
        decided = np.zeros(probabilities.shape, np.bool_)
        decided[np.arange(len(decided)), chosen] = answered
        return decided

    def decide_several(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Maps ``float32[N, C]`` of sigmoids to the answers, any number true a row."""
        limits = self.limits(DECISION) if self.thresholds else np.float32(DECISION)
        return (probabilities >= limits) & self._sure_enough(probabilities)[:, None]

    def _sure_enough(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        return probabilities.max(axis=1) >= np.float32(self.none_below)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields of model.json."""
        fields: dict[str, Any] = {"thresholds": list(self.thresholds), "none_below": self.none_below}
        if self.slices is not None:
            fields["slices"] = dataclasses.asdict(self.slices)
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Decision:
        """The inverse of to_json."""
        thresholds = tuple(None if value is None else float(value) for value in fields["thresholds"])
        slices = fields.get("slices")
        return cls(
            thresholds=thresholds,
            none_below=float(fields["none_below"]),
            slices=None if slices is None else SliceThresholds(**slices),
        )


FIRST = Decision()
"""The class of the highest confidence; of sigmoids, what is as likely as not."""

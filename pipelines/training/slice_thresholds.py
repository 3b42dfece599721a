"""Thresholds of slices: each value of an attribute has its own, so that their false positive rates are alike."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.features import Examples
from pipelines.training.mindiff import positive_column
from pipelines.training.thresholds import FEW
from transforms.model.decision import SliceThresholds
from transforms.model.head import Array, Head

_TRIED = 100  # rates, at most

Mask = npt.NDArray[np.bool_]


def equalise(head: Head, validation: Examples, attribute: str, label: str) -> tuple[Head, dict[str, Any]]:
    """Returns the head with a threshold of the class for each value, and the field of metrics.json.

    The rate that all values get is that of the class' own threshold when it has one (``--threshold-for``), else the one
    with the most right answers. A value with fewer than FEW images without the class keeps the common threshold, which
    gives all images that rate.

    Args:
      head: calibrated, of one label an image, with its decision.
      validation: the thresholds are chosen on.
      attribute: whose values get thresholds.
      label: of the class; empty for the second of two.

    Raises:
      OptionError: as mindiff.positive_column.
    """
    column = positive_column(head.labels, label)
    probabilities, values = head.probabilities(validation.vectors), validation.values(attribute)
    negative = validation.targets != column
    names = sorted(set(values.tolist()) - {""})
    slices = {name: negative & (values == name) for name in names}
    known = {name: mask for name, mask in slices.items() if int(mask.sum()) >= FEW}
    own = head.decision.thresholds[column] if head.decision.thresholds else None

    def at(rate: float) -> Head:
        return _with_thresholds(head, column, attribute, probabilities[:, column], negative, known, rate)

    if own is not None:
        wanted = float(head.decide(probabilities)[negative, column].mean()) if negative.any() else 0.0
    else:
        most = min([_TRIED, *(int(mask.sum()) for mask in known.values())])
        rates = [count / most for count in range(most + 1)]
        right = [_right(at(rate), probabilities, values, validation) for rate in rates]
        wanted = rates[int(np.argmax(right))]
    decided = at(wanted)
    chosen = decided.decision.slices.thresholds if decided.decision.slices else {}
    return decided, {
        "attribute": attribute,
        "label": head.labels[column],
        "false_positive_rate": wanted,
        "common": decided.decision.thresholds[column],
        "values": [
            {"value": name, "threshold": chosen.get(name), "negatives": int(slices[name].sum())} for name in names
        ],
        "warnings": [
            f"--slice-thresholds: {int(mask.sum())} validation images of {attribute} {name!r} are not "
            f"{head.labels[column]!r}, too few for a threshold ({FEW}); it keeps the common one"
            for name, mask in slices.items()
            if name not in known
        ],
    }


def _with_thresholds(
    head: Head, column: int, attribute: str, scores: Array, negative: Mask, slices: dict[str, Mask], rate: float
) -> Head:
    """Returns the head with thresholds of the class at which the false positive rate of each slice is ``rate``."""
    thresholds = list(head.decision.thresholds or (None,) * len(head.labels))
    thresholds[column] = thresholds[column] or threshold_at(scores[negative], rate)
    chosen = {name: threshold_at(scores[mask], rate) for name, mask in slices.items()}
    own = SliceThresholds(attribute=attribute, column=column, thresholds=chosen)
    return dataclasses.replace(
        head, decision=dataclasses.replace(head.decision, thresholds=tuple(thresholds), slices=own)
    )


def _right(head: Head, probabilities: Array, values: npt.NDArray[np.str_], examples: Examples) -> int:
    """How many answers are right."""
    answers = head.decide(probabilities, values.tolist())
    rows = np.flatnonzero(examples.targets < answers.shape[1])
    return int(answers[rows, examples.targets[rows]].sum())


def threshold_at(scores: Array, rate: float) -> float:
    """Returns the threshold from which on the share ``rate`` of the scores lies, as nearly as equal scores allow.

    It stands halfway between two scores; of no scores it is 0.5.
    """
    if not len(scores):
        return 0.5
    ordered = np.sort(scores.astype(np.float64))[::-1]
    edges = np.concatenate([[1.0], (ordered[:-1] + ordered[1:]) / 2, [ordered[-1] / 2]])
    parted = np.concatenate([[True], np.diff(ordered) < 0, [True]])  # a threshold cannot part equal scores
    taken = np.flatnonzero(parted)
    return float(max(edges[taken[np.abs(taken - rate * len(ordered)).argmin()]], 1e-6))

"""Temperature scaling: one number that makes a confidence of 80 % right in 80 % of the images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.features import Examples, Targets
from pipelines.training.measure import cell_batch, prediction_batch
from transforms.measures.calibration import Calibration
from transforms.model.head import Array, Head

COLDEST, HOTTEST = 0.1, 10.0
"""The temperature stays between them."""

_HALVINGS = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemperatureFit:
    """What temperature scaling did, on the rows it was fitted on.

    Attributes:
      temperature: that the logits are divided by.
      nll_before: mean negative log likelihood at temperature 1, in nats.
      nll_after: at ``temperature``; not above nll_before.
      ece_before: expected calibration error at temperature 1, in [0, 1].
      ece_after: at ``temperature``; it may rise, as it is not what is minimised.
    """

    temperature: float
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float


def calibrate(head: Head, validation: Examples) -> tuple[Head, TemperatureFit]:
    """Returns the head with the temperature that fits the validation split best.

    Args:
      head: of temperature 1.
      validation: targets are classes of the head; not empty.
    """
    logits, targets = head.logits(validation.vectors), validation.targets
    temperature = fit_temperature(logits, targets)
    fit = TemperatureFit(
        temperature=temperature,
        nll_before=negative_log_likelihood(logits, targets),
        nll_after=negative_log_likelihood(logits, targets, temperature),
        ece_before=_calibration_error(head, logits, targets),
        ece_after=_calibration_error(head, logits / np.float32(temperature), targets),
    )
    return dataclasses.replace(head, temperature=temperature), fit


def calibration_error(head: Head, examples: Examples) -> float | None:
    """Returns the expected calibration error in [0, 1] of a head on rows of its classes; None without rows."""
    known = examples.known(len(head.labels))
    return _calibration_error(head, head.logits(known.vectors), known.targets) if len(known.targets) else None


def describe_calibration(scaling: Mapping[str, Any]) -> str:
    """Returns what temperature scaling did, a line for a person, from its field of metrics.json."""
    parts = [f"{scaling['ece_before']:.3f} before and {scaling['ece_after']:.3f} after on validation"]
    if scaling["test_ece_before"] is not None:
        parts.append(f"{scaling['test_ece_before']:.3f} and {scaling['test_ece_after']:.3f} on test")
    return f"expected calibration error: {', '.join(parts)} (temperature {scaling['temperature']:.2f})"


def fit_temperature(logits: Array, targets: Targets) -> float:
    """Returns the temperature T that minimises the negative log likelihood of ``logits / T``.

    It is convex in 1/T, so halving the interval where its slope changes sign finds the minimum (C. Guo et
    al., On calibration of modern neural networks, ICML 2017). When every row is right the likelihood only
    grows as T falls, which tells nothing of how sure to be: T is 1 then.

    Args:
      logits: ``float32[N, C]``.
      targets: as Examples.targets: of a softmax or, with several labels an image, of a sigmoid for each.
    """
    right = (logits > 0) == targets if targets.ndim == 2 else logits.argmax(axis=1) == targets
    if right.all():
        return 1.0
    low, high = np.log(1 / HOTTEST), np.log(1 / COLDEST)  # of 1/T
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _slope(logits, targets, float(np.exp(middle))) > 0:
            high = middle
        else:
            low = middle
    return float(np.exp(-(low + high) / 2))


def negative_log_likelihood(logits: Array, targets: Targets, temperature: float = 1.0) -> float:
    """Returns the mean of ``-log softmax(logits / temperature)`` at the targets, in nats.

    With several labels an image it is the sum over the labels of ``-log sigmoid``.
    """
    scaled = logits.astype(np.float64) / temperature
    if targets.ndim == 2:
        return float((np.logaddexp(0, scaled) - scaled * targets).sum(axis=1).mean())
    scaled -= scaled.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(scaled).sum(axis=1))
    return float((log_sums - scaled[np.arange(len(targets)), targets]).mean())


def _slope(logits: Array, targets: Targets, inverse: float) -> float:
    """The derivative of the negative log likelihood with respect to 1/T."""
    values: npt.NDArray[np.float64] = logits.astype(np.float64)
    scaled = values * inverse
    if targets.ndim == 2:
        return float((values * (0.5 * (1 + np.tanh(scaled / 2)) - targets)).sum(axis=1).mean())
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    expected = (powers * values).sum(axis=1) / powers.sum(axis=1)
    return float((expected - values[np.arange(len(targets)), targets]).mean())


def _calibration_error(head: Head, logits: Array, targets: Targets) -> float:
    measure, probabilities = Calibration(), head.activate(logits)
    several = targets.ndim == 2
    measure.add(
        cell_batch(probabilities, targets) if several else prediction_batch(probabilities, targets, head.labels)
    )
    return measure.compute()

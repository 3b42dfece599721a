from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipelines.training.dense_layers import CrossEntropy, backward, forward
from pipelines.training.team import Team

ROWS, WIDTHS, HEADS = 20, (6, 5, 4, 3), 2


def weights_like(generator: np.random.Generator) -> list[np.ndarray]:
    arrays = []
    for place, (inputs, units) in enumerate(itertools.pairwise(WIDTHS)):
        kernel = generator.normal(size=(HEADS, inputs, units))
        arrays += [kernel.swapaxes(0, 1) if place == 0 else kernel, generator.normal(size=(HEADS, units))]
    return [np.ascontiguousarray(array, np.float32) for array in arrays]


@pytest.mark.parametrize("several", [False, True])
def test_the_gradient_is_the_slope_of_the_loss(several: bool) -> None:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(ROWS, WIDTHS[0])).astype(np.float32)
    numbers = generator.integers(0, 3, ROWS).astype(np.int32)
    targets = generator.random((ROWS, 3)) < 0.4 if several else numbers
    spread = [np.full((ROWS, 3), value) for value in (True, False)] if several else [0 * numbers + c for c in range(3)]
    class_weights = np.array([[1, 2, 0.5], [1, 1, 3]], np.float32)
    counted = generator.random((ROWS, HEADS)).astype(np.float32)
    masks = [np.where(generator.random((ROWS, width)) < 0.5, 0, 2).astype(np.float32) for width in WIDTHS[1:3]]
    loss = CrossEntropy(several=several, smoothing=0.2)

    def smoothed(weights: list[np.ndarray]) -> float:
        logits = forward(weights, inputs, masks)[-1].astype(np.float64)
        rows = class_weights.T[numbers] if not several else 1
        own = loss.losses(logits, targets, class_weights)[0]
        if several:
            among = np.mean([loss.losses(logits, each, class_weights)[0] for each in spread], axis=0)
        else:
            among = rows * np.mean(
                [loss.losses(logits, each, np.ones_like(class_weights))[0] for each in spread], axis=0
            )
        return float(((0.8 * own + 0.2 * among) * counted).sum())

    weights, gradients = weights_like(generator), weights_like(generator)
    *layers, logits = forward(weights, inputs, masks)
    backward(weights, layers, loss.gradient(logits, targets, class_weights, counted), 2.0, gradients)
    for place, gradient in enumerate(gradients):
        direction = generator.normal(size=gradient.shape).astype(np.float32)
        ends = [[*weights] for _ in range(2)]
        for end, step in zip(ends, (1e-3, -1e-3), strict=True):
            end[place] = weights[place] + np.float32(step) * direction
        slope = (smoothed(ends[0]) - smoothed(ends[1])) / 2e-3
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=0.01, abs=0.02), place


def test_a_team_gives_results_in_order_and_tells_what_failed() -> None:
    with Team(2) as team:
        assert team.map(lambda part: part * part, range(50)) == [part * part for part in range(50)]
        assert team.map(str, []) == []
        with pytest.raises(ZeroDivisionError):
            team.map(lambda part: 1 // part, [3, 2, 0, 1])

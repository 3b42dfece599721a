from __future__ import annotations

import numpy as np
import pytest

from pipelines.training.features import Examples
from pipelines.training.fit_adam import share
from pipelines.training.fit_settings import FitSettings
from pipelines.training.schedule import Schedule
from pipelines.training.stack import HeadStack, Members, StackFit
from pipelines.training.standardise import standardisation
from tests.pipelines.training.builders import clouds

TRAIN, HELD = (Examples(**dict(zip(("vectors", "targets"), clouds(200, 3, seed=seed), strict=True))) for seed in (1, 2))
L2, RATES = np.array([0.1, 0.001, 0.01], np.float32), np.array([0.01, 0.02, 0.005], np.float32)
WEIGHTS = np.array([[1, 1, 1], [1, 3, 1], [1, 1, 0.5]], np.float32)


def fit(chosen: list[int], folds: np.ndarray | None = None, epochs: int = 8, **options) -> StackFit:
    held_out, settings = HELD if folds is None else TRAIN, FitSettings(**options)
    stack = HeadStack(TRAIN, held_out, *standardisation(TRAIN.vectors), classes=3, settings=settings)
    held = None if folds is None else np.repeat(folds[:, None] == 0, 3, axis=1)
    members = Members(l2=L2, rates=RATES, class_weights=WEIGHTS, used=None if held is None else ~held, held=held)
    return stack.fit(members.take(np.array(chosen)), Schedule(epochs=epochs))


@pytest.mark.parametrize(
    "options", [{}, {"hidden_units": (5, 4), "dropout_rate": 0.3}, {"label_smoothing": 0.2, "batch_size": 50}]
)
def test_a_head_is_the_same_beside_others_as_alone(options: dict) -> None:
    together = fit([0, 1, 2], **options)
    for index in range(3):
        alone = fit([index], **options)
        assert alone.losses[0] == pytest.approx(together.losses[index], rel=1e-4)
        for one, other in zip(alone.member(0), together.member(index), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_rows_that_a_head_does_not_use_change_nothing() -> None:
    folds = np.arange(200) % 2
    before = fit([0, 1, 2], folds, epochs=1)
    vectors = TRAIN.vectors[folds == 0].copy()
    TRAIN.vectors[folds == 0] = TRAIN.vectors[folds == 0][::-1]  # the same columns' means, other rows
    try:
        after = fit([0, 1, 2], folds, epochs=1)
    finally:
        TRAIN.vectors[folds == 0] = vectors
    assert after.losses.tolist() != before.losses.tolist(), "they are what it is measured on"
    np.testing.assert_allclose(after.weights[0], before.weights[0], atol=1e-6)


def test_the_held_out_loss_is_that_of_the_logits() -> None:
    stack = HeadStack(TRAIN, HELD, *standardisation(TRAIN.vectors), classes=3, settings=FitSettings())
    found = stack.fit(Members(l2=L2, rates=RATES, class_weights=WEIGHTS), Schedule(epochs=5))
    logits = stack.logits(found.weights)
    assert logits.shape == (200, 3, 3)
    losses = np.logaddexp.reduce(logits, axis=2) - logits[np.arange(200), :, HELD.targets]
    expected = [np.average(losses[:, member], weights=WEIGHTS[member][HELD.targets]) for member in range(3)]
    np.testing.assert_allclose(found.losses, expected, rtol=1e-4)


def test_vectors_are_shared_where_they_can_be() -> None:
    room = np.zeros(64 + 16, np.float32)
    aligned = room[(-room.ctypes.data % 64) // 4 :][:64].reshape(8, 8)
    tensor = share(aligned)
    aligned[3, 3] = 7
    assert tensor.numpy()[3, 3] == 7
    shifted = room[(-room.ctypes.data % 64) // 4 + 1 :][:8]
    assert share(shifted).numpy().tolist() == shifted.tolist(), "copied: TensorFlow cannot read it in place"

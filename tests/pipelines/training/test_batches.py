from __future__ import annotations

import numpy as np

from pipelines.training.batches import Batches

ARRAY = np.random.default_rng(0).integers(0, 256, (20, 9, 7, 3), dtype=np.uint8)


def batches(augment: str = "none", **changes: int) -> Batches:
    return Batches(**{"array": ARRAY, "size": 8, "augment": augment, "seed": 3, "threads": 2, **changes})


def read(source: Batches, epoch: int, first_step: int = 0) -> np.ndarray:
    return np.stack(list(source.read(source.order(20, epoch), epoch, first_step)))


def test_an_epoch_shows_every_image_and_fills_the_last_batch() -> None:
    order = batches().order(20, 1)
    assert order.shape == (3, 8)
    assert set(order.ravel().tolist()) == set(range(20))
    assert sorted(order.ravel()[:20].tolist()) == list(range(20))
    np.testing.assert_array_equal(read(batches(), 1), ARRAY[order])
    assert batches().order(5, 1).shape == (1, 5)


def test_epochs_differ_and_repeat_themselves() -> None:
    source = batches("texture")
    first = read(source, 1)
    np.testing.assert_array_equal(first, read(batches("texture", threads=1), 1))
    assert (source.order(20, 1) != source.order(20, 2)).any()
    assert (source.order(20, 1) != batches(seed=4).order(20, 1)).any()
    same_rows = np.zeros((1, 8), np.int64)
    one, two = (next(iter(source.read(same_rows, epoch))) for epoch in (1, 2))
    assert (one != two).any()
    assert (first != ARRAY[source.order(20, 1)]).any()


def test_an_epoch_goes_on_in_its_middle() -> None:
    source = batches("natural")
    np.testing.assert_array_equal(read(source, 2)[1:], read(source, 2, first_step=1))

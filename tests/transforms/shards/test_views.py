from __future__ import annotations

import numpy as np
import pytest

from tests.drawing import picture
from transforms.errors import OptionError
from transforms.shards.views import ViewsEncoder


class Means:
    """Mean colours as vectors."""

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        return pixels.mean(axis=(1, 2), dtype=np.float32)


def test_each_image_stands_first_among_its_views() -> None:
    pixels = np.stack([np.asarray(picture(32, 32, seed)) for seed in range(3)])
    vectors = ViewsEncoder(Means(), 4, "natural").encode(pixels)
    assert vectors.shape == (3, 5, 3)
    assert np.array_equal(vectors[:, 0], Means().encode(pixels))
    assert len(np.unique(vectors.reshape(-1, 3), axis=0)) == 15


def test_views_depend_on_the_image_alone() -> None:
    pixels = np.stack([np.asarray(picture(32, 32, seed)) for seed in range(3)])
    encoder = ViewsEncoder(Means(), 2, "texture")
    assert np.array_equal(encoder.encode(pixels[::-1])[::-1], encoder.encode(pixels))


def test_an_unknown_policy_is_refused_at_once() -> None:
    with pytest.raises(OptionError, match="no augmentation policy 'wild'"):
        ViewsEncoder(Means(), 2, "wild")

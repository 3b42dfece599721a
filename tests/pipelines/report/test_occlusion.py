from __future__ import annotations

import numpy as np

from pipelines.report.occlusion import GRID, evidence
from transforms.model.head import Head


def head() -> Head:
    """Of vectors of one number, how bright the brightest pixel is: says ``bright`` above 128."""
    return Head(
        labels=("bright", "dark"),
        mean=np.full(1, 128, np.float32),
        std=np.ones(1, np.float32),
        layers=((np.array([[0.02, -0.02]], np.float32), np.zeros(2, np.float32)),),
    )


def encode(pixels: np.ndarray) -> np.ndarray:
    return pixels.max(axis=(1, 2, 3))[:, None].astype(np.float32)


def test_the_evidence_is_where_the_answer_comes_from() -> None:
    image = np.zeros((32, 64, 3), np.uint8)
    image[8:12, 40:48] = 255  # within cell (2, 5)
    found = evidence(encode, head(), image)
    assert found.shape == (GRID, GRID)
    assert np.unravel_index(found.argmax(), found.shape) == (2, 5)
    assert found[2, 5] > 1
    assert np.abs(found[5:]).max() == 0

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from transforms.encoders.interpreters import InterpretedEncoder
from transforms.shards.work import images_at_once


@pytest.mark.parametrize(
    ("asked", "engine", "cores", "expected"),
    [
        (0, "litert", 2, 32),
        (0, "litert", 64, 512),
        (0, "openvino", 64, 512),
        (0, "tensorflow", 64, 32),
        (5, "litert", 64, 5),
        (5, "tensorflow", 1, 5),
    ],
)
def test_images_at_once(asked, engine, cores, expected):
    assert images_at_once(asked, engine, cores) == expected


def test_each_of_64_cores_has_work():
    """Calls that wait until 64 are at it together: with 32 images nobody would ever go on."""
    together = threading.Barrier(64, timeout=20)

    def interpret(image):
        if image.any():
            together.wait()
        return np.zeros((1, 3), np.float32)

    size = SimpleNamespace(height=4, width=5)
    specification = SimpleNamespace(preprocessing=size, dimension=3, source="drawn", engine="litert")
    encoder = InterpretedEncoder(specification, lambda: interpret, threads=64)
    images = np.ones((images_at_once(0, "litert", 64), 4, 5, 3), np.uint8)
    assert encoder.encode(images).shape == (512, 3)

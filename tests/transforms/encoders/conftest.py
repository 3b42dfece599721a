"""Models small enough to be made by the tests."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from transforms.encoders import conversion, resolve
from transforms.encoders.encoder import Encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import import_keras, import_tensorflow


@pytest.fixture(scope="session")
def tf() -> Any:
    return import_tensorflow()


@pytest.fixture(scope="session")
def keras(tf: Any) -> Any:
    return import_keras()


@pytest.fixture(scope="session")
def default_specification() -> EncoderSpecification:
    return resolve.resolve_encoder()


@pytest.fixture(scope="session")
def default_encoder(default_specification: EncoderSpecification) -> Encoder:
    return resolve.load_encoder(default_specification)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """A cache of a module's own, for which networks are converted here, where TensorFlow is loaded."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("cache")
        patch.setenv(conversion.CACHE_VARIABLE, str(path))
        patch.setattr(
            conversion,
            "convert_in_process",
            lambda specification, trust, directory: conversion.convert(specification, trust, pathlib.Path(directory)),
        )
        yield path


@pytest.fixture
def pixels() -> np.ndarray:
    """Three images of 20 by 24 whose channels differ."""
    return np.random.default_rng(3).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)


@pytest.fixture
def save_module(tf: Any, tmp_path: pathlib.Path):
    """Saves ``function(images, weight)`` as a module with ``__call__``; gives the directory."""

    def save(function, shape=(None, 20, 24, 3), dtype="float32", name="module", weight=None) -> str:
        class Module(tf.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = tf.Variable(
                    np.linspace(-1, 2, 15, dtype=np.float32).reshape(3, 5) if weight is None else weight
                )

            @tf.function(input_signature=[tf.TensorSpec(shape, dtype)])
            def __call__(self, images):
                return function(images, self.weight)

        path = str(tmp_path / name)
        tf.saved_model.save(Module(), path)
        return path

    return save


@pytest.fixture
def project(tf: Any):
    """Mean colour times a matrix: [B, height, width, 3] to [B, 5]."""
    return lambda images, weight: tf.reduce_mean(tf.cast(images, tf.float32), (1, 2)) @ weight


def mean_colours(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float64).mean((1, 2))


WEIGHT = np.linspace(-1, 2, 15).reshape(3, 5)

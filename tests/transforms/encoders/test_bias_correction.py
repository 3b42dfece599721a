from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from transforms.encoders import conversion, engines, resolve
from transforms.encoders.bias_correction import mean_shift, to_bfloat16
from transforms.encoders.difference import difference
from transforms.encoders.specification import EncoderSpecification

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def deep(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> EncoderSpecification:
    """Convolutions of all three kinds, deep enough for rounding to add up; weights that bfloat16 makes smaller."""
    layers = keras.layers
    keras.utils.set_random_seed(7)
    stack = [keras.Input((24, 20, 3)), layers.Conv2D(16, 3, activation="relu")]
    for _ in range(4):
        stack += [layers.DepthwiseConv2D(3, padding="same"), layers.ReLU(6.0)]
        stack += [layers.Conv2D(16, 3, padding="same", groups=2), layers.Conv2D(16, 1, activation="relu")]
    model = keras.Sequential([*stack, layers.GlobalAveragePooling2D()])
    for weights in model.trainable_variables:
        exact = np.array(weights)
        weights.assign(to_bfloat16(exact) * (1 + 0.0019 * np.sign(exact)))
    path = tmp_path_factory.mktemp("deep") / "deep.keras"
    model.save(path)
    return resolve.resolve_encoder(str(path), pixel_range=(0, 1))


def test_bfloat16_is_tensorflow_s(tf: Any) -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    values = np.concatenate([values, np.float32([0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 3e38, 1e-40])])
    assert np.array_equal(to_bfloat16(values), tf.cast(tf.cast(values, tf.bfloat16), tf.float32))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_mean_shift_is_that_of_the_output(tf: Any, groups: int) -> None:
    random = np.random.default_rng(groups)
    images = random.random((1, 9, 9, 6)).astype(np.float32)
    images[:] = images.mean((1, 2), keepdims=True)  # flat, so that the borders do not count
    kernel = random.normal(size=(3, 3, 6 // groups, 12)).astype(np.float32)
    lost = tf.nn.conv2d(images, to_bfloat16(kernel), 1, "VALID") - tf.nn.conv2d(images, kernel, 1, "VALID")
    weights = kernel.transpose(3, 2, 0, 1).reshape(groups, 12 // groups, 6 // groups, 3, 3)
    np.testing.assert_allclose(mean_shift(weights, images.mean((0, 1, 2))), np.mean(lost, (0, 1, 2)), atol=1e-5)


def test_corrected_vectors_are_nearer_to_tensorflow_s(deep: EncoderSpecification) -> None:
    images = np.random.default_rng(1).integers(0, 256, (11, 24, 20, 3), dtype=np.uint8)
    expected = resolve.load_encoder(deep).encode(images)
    corrected = engines.on_engine(deep, "openvino", "bfloat16")
    plain = dataclasses.replace(corrected, bias_correction=False)
    found = {item: resolve.load_encoder(item).encode(images) for item in (corrected, plain)}
    assert 1 - difference(found[corrected], expected).mean < 0.5 * (1 - difference(found[plain], expected).mean)


def test_a_table_without_the_correction_goes_on_without_it(deep: EncoderSpecification) -> None:
    """Older tables, written down before there was such a field, keep their fingerprints and their vectors."""
    plain = dataclasses.replace(deep, engine="openvino", precision="bfloat16")
    assert "bias_correction" not in plain.to_json()
    assert EncoderSpecification.from_json(plain.to_json()) == plain

    def only(table: EncoderSpecification) -> engines.FindTable:
        return lambda wanted: wanted if wanted == table else None

    corrected = engines.choose_engine(deep, precision="bfloat16").specification
    assert EncoderSpecification.from_json(corrected.to_json()) == corrected
    assert corrected.bias_correction
    assert corrected.fingerprint != plain.fingerprint
    assert conversion.network_directory(corrected) == conversion.network_directory(deep)
    for table in (plain, corrected):
        choice = engines.choose_engine(deep, precision="bfloat16", find_table=only(table))
        assert choice == (table, "the engine of the table")

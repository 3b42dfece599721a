import dataclasses
import logging

import numpy as np
import pytest

from transforms.encoders import frozen, resolve
from transforms.encoders.folding import fold_batch_norms
from transforms.encoders.networks import open_again

SHAPE = (None, 12, 10, 3)
RANDOM = dict.fromkeys(
    ("beta_initializer", "moving_mean_initializer", "gamma_initializer"), "random_normal"
)  # far from doing nothing


@pytest.fixture(scope="module")
def freeze(tf):
    """Freezes ``function(images)``; gives the function and the operators in its graph."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def freeze(function):
        traced = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec(SHAPE, "float32"))
        return convert_variables_to_constants_v2(traced, lower_control_flow=False)

    return freeze


@pytest.fixture(scope="module")
def images(tf):
    return tf.constant(np.random.default_rng(2).standard_normal((4, *SHAPE[1:])).astype(np.float32))


@pytest.fixture(scope="module")
def numbers():
    return lambda *shape: np.random.default_rng(sum(shape)).uniform(0.5, 1.5, shape).astype(np.float32)


@pytest.fixture
def fused(tf, numbers):
    """BatchNorm as one operator, as Keras 2 wrote it."""

    def fused(images):
        gamma, beta, mean, variance = (numbers(images.shape[-1]) + part for part in (0, -1, 1, 0.5))
        return tf.compat.v1.nn.fused_batch_norm(images, gamma, beta, mean, variance, is_training=False)[0]

    return fused


def operators(function):
    return [node.op for node in function.graph.as_graph_def().node]


def first(output):
    return (output[0] if isinstance(output, list) else output).numpy()


def test_convolutions_and_dense_layers(keras, freeze, images):
    layers = keras.layers
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input(SHAPE[1:]),
            layers.Conv2D(8, 3, bias_initializer="random_normal"),
            layers.BatchNormalization(**RANDOM),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, use_bias=False, depth_multiplier=2),
            layers.BatchNormalization(**RANDOM),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, bias_initializer="random_normal"),
            layers.BatchNormalization(**RANDOM),
        ]
    )
    function = freeze(model)
    folded = fold_batch_norms(function)
    assert {"Mul", "Rsqrt"} <= set(operators(function))
    assert not {"Mul", "Rsqrt", "AddV2", "Sub"} & set(operators(folded))
    assert operators(folded).count("BiasAdd") == 3
    np.testing.assert_allclose(first(folded(images)), first(function(images)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(first(folded(images[:1])), first(function(images[:1])), rtol=1e-4, atol=1e-6)


def test_the_operator_of_older_exports(tf, freeze, fused, numbers, images):
    function = freeze(lambda x: fused(tf.nn.conv2d(x, numbers(3, 3, 3, 4), 2, "SAME") + numbers(4)))
    folded = fold_batch_norms(function)
    assert "FusedBatchNormV3" in operators(function)
    assert not [name for name in operators(folded) if "BatchNorm" in name]
    np.testing.assert_allclose(first(folded(images)), first(function(images)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["after an activation", "two readers", "in training", "not per channel"])
def test_what_cannot_be_folded_is_left_alone(tf, freeze, fused, numbers, images, case):
    def network(x):
        layer = tf.nn.conv2d(x, numbers(3, 3, 3, 4), 1, "SAME")
        if case == "after an activation":
            return fused(tf.nn.relu(layer))
        if case == "two readers":
            return fused(layer) + layer
        if case == "in training":
            return tf.compat.v1.nn.fused_batch_norm(layer, numbers(4), numbers(4), is_training=True)[0]
        return tf.nn.bias_add(layer, numbers(4)) * numbers(12, 10, 1)

    function = freeze(network)
    assert fold_batch_norms(function) is function


def test_an_encoder_is_folded_once_it_is_checked(keras, tmp_path, monkeypatch, caplog):
    layers = keras.layers
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [keras.Input(SHAPE[1:]), layers.DepthwiseConv2D(3), layers.BatchNormalization(**RANDOM), layers.Flatten()]
    )
    model.save(tmp_path / "small.keras")
    specification = resolve.resolve_encoder(str(tmp_path / "small.keras"), pixel_range=(-1, 1))
    network = open_again(specification)
    pixels = np.random.default_rng(5).integers(0, 256, (3, *SHAPE[1:]), dtype=np.uint8)
    encoder = frozen.FrozenEncoder(specification, network)
    assert "Rsqrt" not in operators(encoder._function)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(frozen, "LEAST_FOLDED_COSINE", 1.1)
        careful = frozen.FrozenEncoder(dataclasses.replace(specification), network)
    assert "Rsqrt" in operators(careful._function)
    assert "BatchNorm is not folded: the vectors would have cosine 1.000000" in caplog.text
    np.testing.assert_allclose(encoder.encode(pixels), careful.encode(pixels), rtol=1e-4, atol=1e-6)

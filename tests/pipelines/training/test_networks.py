from __future__ import annotations

import dataclasses
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.training.cnn_settings import CnnSettings
from pipelines.training.networks import build_cnn, group_blocks, open_trainable
from tests.pipelines.training.builders import save_tiny_encoder
from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import EncoderError


def save_hub_module(path: Path, trainable: bool = True) -> str:
    """A SavedModel as TF Hub's trainable ones are: ``__call__`` for both values of ``training``, lists of variables."""
    import tensorflow as tf

    random = tf.random.Generator.from_seed(1)
    kernel = tf.Variable(random.normal((3, 3, 3, 5)), name="conv/kernel")
    gamma, mean = tf.Variable(tf.ones(5), name="norm/gamma"), tf.Variable(tf.zeros(5), name="norm/moving_mean")
    dense = tf.Variable(random.normal((5, 4)), name="dense/kernel")

    @tf.function
    def call(images, training=False):
        images = tf.nn.conv2d(images, kernel, 2, "SAME")
        mean_now = tf.reduce_mean(images, (0, 1, 2)) if training else mean
        images = tf.nn.relu((images - mean_now) * gamma)
        return tf.reduce_mean(images, (1, 2)) @ dense

    module = tf.train.Checkpoint()
    for training in (False, True):
        call.get_concrete_function(tf.TensorSpec([None, 8, 8, 3]), training=training)
    module.__call__ = call
    module.variables = [kernel, gamma, mean, dense]
    module.trainable_variables = [kernel, gamma, dense] if trainable else []
    module.regularization_losses = []
    tf.saved_model.save(module, str(path))
    return str(path)


def trained_and_saved(specification: EncoderSpecification, directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the trainable encoder after a change, and those of what it saves."""
    encoder = open_trainable(specification)
    for variable in encoder.top(None):
        variable.assign(variable * 1.25)
    images = golden_images(specification)
    changed = np.asarray(encoder.call(images, False))
    saved = resolve_encoder(encoder.save(str(directory)))
    assert saved.fingerprint != specification.fingerprint
    assert saved.preprocessing == specification.preprocessing
    return changed, load_encoder(saved).encode(images)


def test_a_keras_file_is_trained_as_it_is_used(tmp_path: Path) -> None:
    specification = resolve_encoder(save_tiny_encoder(tmp_path / "tiny.keras"), pixel_range=(-1, 1))
    images = golden_images(specification)
    encoder = open_trainable(specification)
    np.testing.assert_allclose(encoder.call(images, False), load_encoder(specification).encode(images), rtol=1e-4)
    assert [len(block) for block in encoder.blocks] == [2, 2]
    changed, saved = trained_and_saved(specification, tmp_path)
    np.testing.assert_allclose(saved, changed, rtol=1e-4, atol=1e-4)


def test_order_of_channels_scale_and_offset_go_into_what_is_saved(tmp_path: Path) -> None:
    plain = resolve_encoder(save_tiny_encoder(tmp_path / "tiny.keras"), pixel_range=(-1, 1))
    specification = dataclasses.replace(plain, channel_order="BGR", scale=(0.1, 0.2, 0.3), offset=(-1.0, -2.0, -3.0))
    images = golden_images(specification)
    expected = load_encoder(specification).encode(images)
    encoder = open_trainable(specification)
    np.testing.assert_allclose(encoder.call(images, True), expected, rtol=1e-3, atol=1e-3)
    saved = resolve_encoder(encoder.save(str(tmp_path)))
    assert (saved.scale, saved.channel_order, saved.dimension) == ((1.0,) * 3, "RGB", plain.dimension)
    np.testing.assert_allclose(load_encoder(saved).encode(images), expected, rtol=1e-3, atol=1e-3)


def test_the_default_encoder_has_its_blocks_and_its_vectors() -> None:
    specification = resolve_encoder(image_size=(32, 32))
    encoder = open_trainable(specification)
    images = golden_images(specification)
    expected = load_encoder(specification).encode(images)
    np.testing.assert_allclose(encoder.call(images, True), expected, rtol=1e-3, atol=1e-3)
    assert len(encoder.blocks) == 18  # stem, sixteen blocks, head
    assert not any("gamma" in variable.name for variable in encoder.top(None))
    assert len(encoder.top(1)) == 1
    assert encoder.top(0) == []
    with pytest.raises(EncoderError, match="--unfreeze 19 is more than the 18 blocks of the encoder; say all"):
        encoder.top(19)


def test_a_trainable_module_of_tf_hub(tmp_path: Path) -> None:
    import tensorflow as tf

    specification = resolve_encoder(save_hub_module(tmp_path / "hub"), pixel_range=(0, 1))
    encoder = open_trainable(specification)
    assert [[variable.name for variable in block] for block in encoder.blocks] == [
        ["conv/kernel:0"],
        ["dense/kernel:0"],  # what belongs to batch normalisation stays
    ]
    changed, saved = trained_and_saved(specification, tmp_path)
    np.testing.assert_allclose(saved, changed, rtol=1e-4, atol=1e-5)
    again = open_trainable(resolve_encoder(str(tmp_path / "encoder")))  # what is exported can be trained on
    assert len(again.top(None)) == 2
    loaded = tf.saved_model.load(str(tmp_path / "encoder"))
    assert len(loaded.trainable_variables) == 3
    np.testing.assert_allclose(loaded(golden_images(specification), training=True), changed, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_trained_says_why(tmp_path: Path) -> None:
    import tensorflow as tf

    frozen = resolve_encoder(save_hub_module(tmp_path / "frozen", trainable=False), pixel_range=(0, 1))
    with pytest.raises(
        EncoderError, match=r"frozen cannot be fine-tuned: the SavedModel exports no trainable variables"
    ):
        open_trainable(frozen)

    class Cut(tf.Module):
        """Rounds, through which no gradient passes."""

        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.ones((3, 2)), name="kernel")

        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3])])
        def __call__(self, images):
            return tf.round(tf.reduce_mean(images, (1, 2)) @ self.kernel)

    module = Cut()
    exported = tf.train.Checkpoint(module=module)
    exported.__call__ = module.__call__
    exported.variables = exported.trainable_variables = [module.kernel]
    tf.saved_model.save(exported, str(tmp_path / "cut"))
    with pytest.raises(EncoderError, match="cut cannot be fine-tuned: no gradient reaches its variables"):
        open_trainable(resolve_encoder(str(tmp_path / "cut"), pixel_range=(0, 1)))


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        (["stem", "block1a_conv", "block1a_dense", "block1b_conv", "top"], [1, 2, 1, 1]),
        (["conv1_conv", "conv2_block1_1_conv", "conv2_block1_2_conv", "conv2_block10_1_conv"], [1, 2, 1]),
        (["expanded_conv_1/expand", "expanded_conv_1/project", "expanded_conv_10/expand"], [2, 1]),
        (["conv", "conv", "conv_1", "conv"], [2, 1, 1]),
    ],
)
def test_blocks_go_by_the_names_of_layers(names: list[str], sizes: list[int]) -> None:
    blocks = group_blocks([(name, name) for name in names])
    assert [len(block) for block in blocks] == sizes
    assert [name for block in blocks for name in block] == names


def test_a_cnn_has_modules_of_convolution_relu_and_pooling() -> None:
    encoder = build_cnn(28, 28, CnnSettings(filters=8, hidden_units=(32, 16)), 0.5, 0)
    kinds = [type(layer).__name__ for layer in encoder.model.layers]
    module = ["Conv2D", "ReLU", "MaxPooling2D"]
    assert kinds == ["InputLayer", "Rescaling", *module, *module, "Flatten", "Dropout", "Dense", "Dropout", "Dense"]
    assert encoder.dimension == 16
    assert [len(block) for block in encoder.blocks] == [2, 2, 2, 2]


def test_an_encoder_is_saved_without_dates_and_addresses_in_memory(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    encoder = build_cnn(16, 16, CnnSettings(filters=4, hidden_units=(8,)), 0.0, 0)
    first, again = (Path(encoder.save(str(place))) for place in (tmp_path, tmp_path / "again"))
    assert first.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
        assert b"date_saved" not in archive.read("metadata.json")
        shared = re.findall(rb'"shared_object_id": (\d+)', archive.read("config.json"))
    assert shared
    assert max(map(int, shared)) < len(shared), "another process would have other addresses"

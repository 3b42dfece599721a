import dataclasses
import inspect
import re
import sys

import numpy as np
import pytest

from transforms.encoders import keras_applications, resolve
from transforms.encoders.golden import golden_images
from transforms.encoders.keras_applications import DEFAULT_SIZES, describe_preprocessing
from transforms.encoders.network import Network, model_input
from transforms.errors import EncoderError

SMALL = "keras.applications:MobileNet"
SIZE = (48, 32)


@pytest.mark.parametrize(
    ("module", "scale", "offset", "order"),
    [
        ("resnet", (1.0, 1.0, 1.0), (-103.939, -116.779, -123.68), "BGR"),
        ("vgg16", (1.0, 1.0, 1.0), (-103.939, -116.779, -123.68), "BGR"),
        ("mobilenet_v2", (1 / 127.5,) * 3, (-1.0, -1.0, -1.0), "RGB"),
        ("densenet", (0.01712475, 0.017507, 0.01742919), (-2.117904, -2.035714, -1.804444), "RGB"),
        ("efficientnet", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "RGB"),
    ],
)
def test_preprocessing_is_measured(keras, module, scale, offset, order):
    function = sys.modules[f"keras.src.applications.{module}"].preprocess_input
    found_scale, found_offset, found_order = describe_preprocessing(module, function)
    assert found_order == order
    assert found_scale == pytest.approx(scale, rel=1e-5)
    assert found_offset == pytest.approx(offset, abs=1e-5)
    specification = dataclasses.replace(
        resolve.resolve_encoder(image_size=(8, 8)), scale=found_scale, offset=found_offset, channel_order=found_order
    )
    network = Network(call=None, trackable=None, variables=(), weights_sha256="", height=8, width=8)
    images = golden_images(specification)
    expected = function(images.astype(np.float32))
    np.testing.assert_allclose(model_input(images, specification, network), expected, atol=2e-5)


def test_a_preprocessing_that_is_not_affine_is_refused():
    with pytest.raises(EncoderError, match="no scale and offset"):
        describe_preprocessing("net", np.square)


def test_default_sizes_are_those_of_the_library(keras):
    for name, builder in inspect.getmembers(keras.applications, inspect.isfunction):
        if name.startswith("ConvNeXt"):
            continue
        text = inspect.getsource(builder)
        found = re.findall(r"(?:default_size=|\(299, 299)(\d*)", text)
        sizes = {int(size or 299) for size in found} - {0}
        if len(sizes) == 1 and not name.startswith(("MobileNet", "EfficientNetB")):
            assert DEFAULT_SIZES.get(name, 224) == sizes.pop(), name


def test_without_weights_it_is_the_same_every_time(keras):
    handle = f"{SMALL}?weights=none"
    first = resolve.resolve_encoder(handle, image_size=SIZE)
    assert resolve.resolve_encoder(handle, image_size=SIZE) == first
    assert (first.name, first.dimension, first.channel_order) == ("mobilenet", 1024, "RGB")
    assert (first.preprocessing.height, first.preprocessing.width) == SIZE
    images = golden_images(first)
    vectors = resolve.load_encoder(first).encode(images)
    assert vectors.std() > 1e-3
    function = keras.applications.mobilenet.preprocess_input
    model = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(*SIZE, 3), pooling="avg")
    keras_applications._fill(model)
    expected = model(function(images.astype(np.float32)), training=False).numpy()
    np.testing.assert_allclose(vectors, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_weights_from_a_file(keras, tmp_path):
    model = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(*SIZE, 3), pooling="avg")
    path = tmp_path / "net.weights.h5"
    model.save_weights(path)
    specification = resolve.resolve_encoder(f"{SMALL}?weights={path}", image_size=SIZE)
    images = golden_images(specification)
    function = keras.applications.mobilenet.preprocess_input
    expected = model(function(images.astype(np.float32)), training=False).numpy()
    found = resolve.load_encoder(specification).encode(images)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    model.layers[1].set_weights([values + 1 for values in model.layers[1].get_weights()])
    model.save_weights(path)
    with pytest.raises(EncoderError, match="have changed"):
        resolve.keras_encoder(specification)


def test_mistakes_are_named(tmp_path):
    (tmp_path / "bad.weights.h5").write_bytes(b"no weights")
    cases = {
        "keras.applications:resnet50?weights=none": "did you mean ResNet50",
        f"{SMALL}?weights={tmp_path}/none.h5": "do not exist",
        f"{SMALL}?weights={tmp_path}/bad.weights.h5": "do not fit MobileNet",
    }
    for handle, message in cases.items():
        with pytest.raises(EncoderError, match=message):
            resolve.resolve_encoder(handle, image_size=SIZE)
    with pytest.raises(EncoderError, match="leave out --pixel-range"):
        resolve.resolve_encoder(f"{SMALL}?weights=none", image_size=SIZE, pixel_range=(0, 1))
    with pytest.raises(EncoderError, match="cannot be built"):
        resolve.resolve_encoder("keras.applications:InceptionV3?weights=none", image_size=(20, 20))


def test_a_failed_download_names_the_remedy(keras, monkeypatch):
    def fail(*arguments, **keywords):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(sys.modules["keras.src.applications.mobilenet"].file_utils, "get_file", fail)
    with pytest.raises(EncoderError, match=r"could not be downloaded .URL fetch failure.*\?weights=PATH"):
        resolve.resolve_encoder(SMALL, image_size=(128, 128))

import json
import zipfile

import numpy as np
import pytest

from tests.transforms.encoders.conftest import mean_colours
from transforms.encoders import resolve
from transforms.encoders.keras_models import find_pixel_range
from transforms.errors import EncoderError


@pytest.fixture
def save(keras, tmp_path):
    def save(*layers, shape=(20, 24, 3), dtype=None):
        path = str(tmp_path / "net.keras")
        keras.Sequential([keras.Input(shape, dtype=dtype), *layers]).save(path)
        return path

    return save


def _encode(path, pixels, **arguments):
    specification = resolve.resolve_encoder(path, **arguments)
    return specification, resolve.load_encoder(specification).encode(pixels)


def test_a_file_with_a_rescaling_layer(keras, save, pixels):
    layers = keras.layers
    path = save(layers.RandomFlip(), layers.Rescaling(1 / 127.5, offset=-1), layers.GlobalAveragePooling2D())
    specification, vectors = _encode(path, pixels)
    assert (specification.scale, specification.offset) == ((1.0,) * 3, (0.0,) * 3)
    assert (specification.name, specification.dimension) == ("net", 3)
    np.testing.assert_allclose(vectors, mean_colours(pixels) / 127.5 - 1, atol=1e-5)


def test_batch_normalisation_is_that_of_inference(keras, save, pixels):
    normalisation = keras.layers.BatchNormalization(epsilon=0)
    path = save(normalisation, keras.layers.GlobalAveragePooling2D())
    normalisation.set_weights([np.full(3, value, np.float32) for value in (2, 1, 10, 4)])
    keras.Sequential([keras.Input((20, 24, 3)), normalisation, keras.layers.GlobalAveragePooling2D()]).save(path)
    _, vectors = _encode(path, pixels, pixel_range=(0, 255))
    np.testing.assert_allclose(vectors, (mean_colours(pixels) - 10) / 2 * 2 + 1, rtol=1e-4)


def test_what_cannot_be_known_is_asked_for(keras, save):
    with pytest.raises(EncoderError, match="--pixel-range"):
        resolve.resolve_encoder(save(keras.layers.GlobalAveragePooling2D()))
    path = save(keras.layers.Rescaling(1 / 255), keras.layers.GlobalAveragePooling2D(), shape=(None, None, 3))
    with pytest.raises(EncoderError, match="--image-size"):
        resolve.resolve_encoder(path)
    assert resolve.resolve_encoder(path, image_size=(30, 20)).preprocessing.height == 30


def test_integer_inputs(keras, save, pixels):
    path = save(keras.layers.Rescaling(2.0, dtype="float32"), keras.layers.GlobalAveragePooling2D(), dtype="uint8")
    _, vectors = _encode(path, pixels)
    np.testing.assert_allclose(vectors, mean_colours(pixels) * 2, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"scale": 1 / 255}, (0, 255)),
        ({"scale": 0.0039215}, (0, 255)),
        ({"scale": 1 / 127.5, "offset": -1}, (0, 255)),
        ({"scale": 2, "offset": -1}, (0, 1)),
        ({"scale": 255}, (0, 1)),
        ({"scale": [0.017, 0.0175, 0.0174], "offset": [-2.1, -2.0, -1.8]}, (0, 255)),
        ({"scale": 3.5}, None),
        ({"scale": 1 / 255, "offset": -5}, None),
    ],
)
def test_the_range_that_a_rescaling_layer_tells(keras, arguments, expected):
    nested = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Rescaling(**arguments)])
    assert find_pixel_range(keras.Sequential([keras.Input((8, 8, 3)), nested])) == expected


def test_the_range_that_normalization_tells(keras):
    def model(mean):
        return keras.Sequential(
            [keras.Input((8, 8, 3)), keras.layers.Normalization(mean=mean, variance=[1.0, 1.0, 1.0])]
        )

    assert find_pixel_range(model([123.7, 116.3, 103.5])) == (0, 255)
    assert find_pixel_range(model([0.485, 0.456, 0.406])) is None


def test_code_is_refused(keras, save, tmp_path):
    flag = tmp_path / "ran"
    path = save(
        keras.layers.Lambda(lambda x, path=str(flag): [open(path, "w").close(), x][1]),
        keras.layers.GlobalAveragePooling2D(),
    )
    flag.unlink()
    with pytest.raises(EncoderError, match=r"carries keras\.layers\.Lambda, which runs code; give --trust-model"):
        resolve.resolve_encoder(path, pixel_range=(0, 1))
    assert not flag.exists()


def _rewrite(path, change):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_classes_of_other_modules_are_refused(keras, save):
    path = save(keras.layers.GlobalAveragePooling2D())
    _rewrite(path, lambda config: config["config"]["layers"][1].update(module="subprocess", class_name="Popen"))
    with pytest.raises(EncoderError, match=r"carries subprocess\.Popen"):
        resolve.resolve_encoder(path, pixel_range=(0, 1))


def test_a_layer_that_does_not_exist(keras, save):
    path = save(keras.layers.GlobalAveragePooling2D())
    _rewrite(path, lambda config: config["config"]["layers"][1].update(class_name="NoSuchLayer"))
    with pytest.raises(EncoderError, match="does not load"):
        resolve.resolve_encoder(path, pixel_range=(0, 1))


def test_damaged_files(tmp_path, keras, save):
    path = tmp_path / "bad.keras"
    for data in (b"", b"no archive", zipfile.ZipFile.__doc__.encode()):
        path.write_bytes(data)
        with pytest.raises(EncoderError, match=r"is no \.keras file"):
            resolve.resolve_encoder(str(path))
    whole = save(keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D())
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path, "w") as half:
        half.writestr("config.json", archive.read("config.json"))
        half.writestr("metadata.json", archive.read("metadata.json"))
    with pytest.raises(EncoderError, match="does not load"):
        resolve.resolve_encoder(str(path))


def test_several_outputs_are_refused(keras, tmp_path):
    images = keras.Input((8, 8, 3))
    keras.Model(images, [images, images * 2]).save(str(tmp_path / "two.keras"))
    with pytest.raises(EncoderError, match="1 inputs and 2 outputs"):
        resolve.resolve_encoder(str(tmp_path / "two.keras"))


def test_a_changed_file_is_refused(keras, save):
    first = resolve.resolve_encoder(save(keras.layers.Conv2D(4, 3)), pixel_range=(0, 1))
    save(keras.layers.Conv2D(4, 3))
    with pytest.raises(EncoderError, match="have changed"):
        resolve.load_encoder(first)

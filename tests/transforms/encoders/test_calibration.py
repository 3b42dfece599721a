from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from transforms.encoders import calibration, conversion, engines, resolve
from transforms.encoders.difference import difference
from transforms.encoders.golden import self_test
from transforms.errors import EncoderError

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def deep(keras, tmp_path_factory):
    """Six depthwise blocks whose channels differ in size a thousandfold: rounding to int8 shifts their means."""
    layers = keras.layers
    keras.utils.set_random_seed(7)
    inputs = x = keras.Input((32, 32, 3))
    for block in range(6):
        x = layers.Conv2D(24, 1, name=f"expand{block}")(x)
        x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same", depthwise_initializer="he_normal")(x))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    scales = 10 ** np.random.default_rng(0).uniform(-1.5, 1.5, 24).astype(np.float32)
    for layer in model.layers:
        if isinstance(layer, layers.DepthwiseConv2D):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * scales[None, None, :, None], bias + 0.3])
    path = tmp_path_factory.mktemp("deep") / "deep.keras"
    model.save(path)
    specification = resolve.resolve_encoder(str(path), pixel_range=(-1, 1))
    return dataclasses.replace(specification, engine="litert", precision="int8")


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(1)
    coarse = generator.integers(0, 256, (50, 8, 8, 3))
    return np.clip(coarse.repeat(4, 1).repeat(4, 2) + generator.integers(-20, 20, (50, 32, 32, 3)), 0, 255).astype(
        np.uint8
    )


@pytest.fixture(scope="module")
def calibrated(deep, images):
    return calibration.calibrate(deep, images[:40])


def test_int8_vectors_are_close_to_tensorflows(calibrated, images):
    encoder = resolve.load_encoder(calibrated)
    expected = resolve.load_encoder(conversion.reference(calibrated)).encode(images[40:])
    assert difference(encoder.encode(images[40:]), expected).least > 0.999
    assert b"INT8" not in conversion.converted_network(conversion.reference(calibrated)).path.read_bytes()
    facts = calibration.calibration_facts(calibrated)
    assert (facts["images"], facts["held_back"]) == (32, 8)
    assert 0.99 < facts["least"] <= facts["mean"] < 1, "int8 that equals float32 is none"


def test_a_calibration_that_changes_the_vectors_is_warned_of(calibrated, monkeypatch, tmp_path):
    assert "warning" not in calibration.calibration_facts(calibrated)
    mean = calibration.calibration_facts(calibrated)["mean"]
    monkeypatch.setattr(calibration, "LEAST_MEAN", mean + 1e-6)
    warning = calibration.calibration_facts(calibrated)["warning"]
    assert f"mean cosine to TensorFlow's {mean:.4f}, below" in warning
    assert "embed with --precision float32, or bfloat16" in warning
    monkeypatch.setenv(conversion.CACHE_VARIABLE, str(tmp_path))
    assert calibration.calibration_facts(calibrated) == {}


def test_the_means_of_layers_are_set_right(calibrated, deep, images, monkeypatch):
    expected = resolve.load_encoder(conversion.reference(calibrated)).encode(images[8:39])
    monkeypatch.setattr("transforms.encoders.quantisation._correct_biases", lambda original, quantised, *_: quantised)
    plain = resolve.load_encoder(calibration.calibrate(deep, images[:39])).encode(images[8:39])
    corrected = resolve.load_encoder(calibrated).encode(images[8:39])
    shift, shift_before = (np.abs((found - expected).mean(0)).mean() for found in (corrected, plain))
    assert shift < 0.5 * shift_before


def test_the_calibration_is_part_of_the_fingerprint(calibrated, deep, images):
    other = calibration.calibrate(deep, images[10:])
    assert len({spec.fingerprint for spec in (deep, calibrated, other)}) == 3
    assert dataclasses.replace(calibrated, calibration="").fingerprint == deep.fingerprint
    assert type(calibrated).from_json(json.loads(json.dumps(calibrated.to_json()))) == calibrated
    assert "calibration" not in conversion.reference(calibrated).to_json(), "older tables would change their names"


def test_the_same_images_are_calibrated_on_once(calibrated, deep, images, monkeypatch):
    monkeypatch.setattr(conversion, "convert_in_process", None)
    assert calibration.calibrate(deep, images[:40]) == calibrated


def test_another_machine_takes_the_network_beside_the_table(calibrated, images, tmp_path, monkeypatch):
    expected = resolve.load_encoder(calibrated).encode(images)
    calibration.publish_calibration(calibrated, str(tmp_path / "table"))
    monkeypatch.setenv(conversion.CACHE_VARIABLE, str(tmp_path / "elsewhere"))
    monkeypatch.setattr(resolve, "_LOADED", {})
    monkeypatch.setattr(conversion, "convert_in_process", None)
    with pytest.raises(EncoderError, match="not on this machine"):
        resolve.load_encoder(calibrated)
    encoder = resolve.load_encoder(calibrated, beside=str(tmp_path / "table"))
    assert np.array_equal(encoder.encode(images), expected)
    self_test(encoder, encoder.encode(engines.golden_images(calibrated)))
    assert engines.golden_difference(calibrated).mean > 0.9


def test_another_network_under_the_same_name_is_refused(calibrated, tmp_path, monkeypatch):
    calibration.publish_calibration(calibrated, str(tmp_path))
    path = tmp_path / "_calibrated" / "network.tflite"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setenv(conversion.CACHE_VARIABLE, str(tmp_path / "elsewhere"))
    with pytest.raises(EncoderError, match="is not the network"):
        calibration.fetch_calibration(calibrated, str(tmp_path))


def test_int8_is_chosen_once_and_then_the_tables(calibrated, deep, images):
    choice = engines.choose_engine(deep, "auto", "int8", draw_sample=lambda: images[:40])
    assert choice.specification == calibrated
    assert choice.why.startswith(
        "calibrated on 32 images of the input; cosine to TensorFlow's vectors of 8 others mean"
    )
    again = engines.choose_engine(deep, "litert", "int8", find_table=lambda candidate: calibrated, draw_sample=None)
    assert again == (calibrated, "the engine of the table")


def test_what_cannot_be_quantised_is_computed_in_float32(deep, monkeypatch, images):
    def refuse(*_):
        raise EncoderError("LiteRT cannot compute this in int8: of course")

    empty = engines.choose_engine(deep, "auto", "int8", draw_sample=lambda: images[:0])
    assert (empty.specification.engine, empty.specification.precision) == ("litert", "float32")
    assert empty.why.startswith("int8 is calibrated on images of the input, and none of them can be read; TensorFlow's")
    monkeypatch.setattr("transforms.encoders.quantisation.quantise", refuse)
    for converter in (conversion.convert_in_process, None):  # the second time nothing is tried
        monkeypatch.setattr(conversion, "convert_in_process", converter)
        choice = engines.choose_engine(deep, "auto", "int8", draw_sample=lambda: images[:9])
        assert choice.specification.precision == "float32"
        assert choice.why.count("LiteRT cannot compute this in int8: of course") == 1
    shutil.rmtree(conversion.network_directory(dataclasses.replace(deep, calibration="refused")))

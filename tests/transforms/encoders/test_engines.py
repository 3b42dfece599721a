from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from transforms.encoders import conversion, engines, frozen, networks, openvino_engine, resolve
from transforms.encoders.difference import difference
from transforms.encoders.golden import golden_images
from transforms.errors import EncoderError

pytestmark = pytest.mark.usefixtures("cache")

FAST = ("litert", "openvino")
IN_PROCESS = conversion.convert_in_process


@pytest.fixture(scope="module")
def small(keras, tmp_path_factory):
    """Convolution, batch normalisation, ReLU and pooling, with values that matter."""
    layers = keras.layers
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            keras.Input((24, 20, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same"),
            layers.BatchNormalization(beta_initializer="random_normal", moving_mean_initializer="random_normal"),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3),
            layers.GlobalAveragePooling2D(),
        ]
    )
    path = tmp_path_factory.mktemp("small") / "small.keras"
    model.save(path)
    return resolve.resolve_encoder(str(path), pixel_range=(-1, 1))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (11, 24, 20, 3), dtype=np.uint8)


def on(specification, engine, precision="float32"):
    return dataclasses.replace(specification, engine=engine, precision=precision)


@pytest.mark.parametrize("engine", FAST)
def test_engines_give_tensorflows_vectors(small, images, engine):
    expected = resolve.load_encoder(small).encode(images)
    encoder = resolve.load_encoder(on(small, engine))
    np.testing.assert_allclose(encoder.encode(images), expected, rtol=1e-4, atol=1e-4)
    assert encoder.encode(images[:0]).shape == (0, 8)
    assert np.array_equal(encoder.encode(images[3:4])[0], encoder.encode(images)[3]), "a vector depends on its batch"
    with pytest.raises(EncoderError, match="pixels must be"):
        encoder.encode(images[:, :10])


@pytest.mark.parametrize("engine", FAST)
def test_many_threads_at_once(small, images, engine):
    encoder = resolve.load_encoder(on(small, engine))
    expected, found = encoder.encode(images), {}

    def work(number):
        found[number] = all(np.array_equal(encoder.encode(images), expected) for _ in range(20))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), True)


def test_bfloat16_is_another_encoder_with_nearly_the_same_vectors(small, images):
    half = on(small, "openvino", "bfloat16")
    cosine = difference(resolve.load_encoder(half).encode(images), resolve.load_encoder(small).encode(images))
    assert cosine.least > 0.99
    assert len({small.fingerprint, half.fingerprint, on(small, "openvino").fingerprint}) == 3


@pytest.mark.parametrize("engine", FAST)
def test_a_converted_network_needs_no_tensorflow(small, engine):
    resolve.load_encoder(on(small, engine))
    script = (
        "import json, sys\n"
        "from transforms.encoders.resolve import load_encoder\n"
        "from transforms.encoders.specification import EncoderSpecification\n"
        "load_encoder(EncoderSpecification.from_json(json.load(sys.stdin)))\n"
        "print([name for name in ('tensorflow', 'keras', 'openvino_telemetry.main') if name in sys.modules])\n"
    )
    text = json.dumps(on(small, engine).to_json())
    done = subprocess.run([sys.executable, "-c", script], input=text, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
    assert "XNNPACK" not in done.stderr


@pytest.mark.parametrize("engine", ["litert", "openvino"])
def test_auto_takes_the_fastest_engine_that_agrees_and_says_so(small, monkeypatch, engine):
    monkeypatch.setattr(engines, "fastest", lambda candidates, _: (on(small, engine), "the fastest"))
    choice = engines.choose_engine(small)
    assert (choice.specification.engine, choice.specification.precision) == (engine, "float32")
    assert "golden images within cosine 1.0" in choice.why
    assert choice.why.endswith("; the fastest")


def test_auto_takes_litert_where_the_extra_may_be_missing(small, monkeypatch):
    monkeypatch.setattr(engines, "fastest", None)
    assert engines.choose_engine(small, works_here=False).specification.engine == "litert"
    monkeypatch.setattr(openvino_engine, "is_installed", lambda: False)
    assert engines.choose_engine(small).specification.engine == "litert"


def test_auto_refuses_an_engine_that_sees_something_else(small, monkeypatch):
    real = engines.converted_network

    def other(specification, trust_model=False):
        network = real(specification, trust_model)
        return network._replace(golden=network.golden[::-1])

    monkeypatch.setattr(engines, "converted_network", other)
    choice = engines.choose_engine(small)
    assert choice.specification == small
    assert "litert gives other vectors than TensorFlow" in choice.why


def test_a_table_goes_on_with_its_engine(small):
    choice = engines.choose_engine(small, find_table=lambda candidate: small if candidate == small else None)
    assert choice == (small, "the engine of the table")
    asked = engines.choose_engine(small, "litert", find_table=lambda candidate: small if candidate == small else None)
    assert asked.specification.engine == "litert"


def test_a_table_of_the_engine_that_is_asked_for_needs_no_look_at_the_network(small, monkeypatch):
    monkeypatch.setattr(engines, "converted_network", None)
    monkeypatch.setattr(engines, "load_encoder", None)
    wanted = on(small, "litert")
    assert (
        engines.choose_engine(
            small, "litert", find_table=lambda candidate: wanted if candidate == wanted else None
        ).specification
        == wanted
    )


def test_a_network_that_cannot_be_converted_is_computed_by_tensorflow(tf, save_module, pixels):
    def resolvent(images, weight):  # LiteRT has no matrix inverse
        colours = tf.reduce_mean(tf.cast(images, tf.float32), (1, 2))
        return colours @ tf.linalg.inv(tf.eye(3) * (2 + tf.reduce_mean(colours))) @ weight

    specification = resolve.resolve_encoder(save_module(resolvent), pixel_range=(0, 1))
    for engine in ("auto", "litert"):
        choice = engines.choose_engine(specification, engine)
        assert choice.specification == specification
        assert choice.why.count(f"LiteRT cannot compute {specification.source}") == 1
        assert "\n" not in choice.why
    assert resolve.load_encoder(specification).encode(pixels).shape == (3, 5)


def test_what_cannot_be_asked_for_is_refused(small, monkeypatch):
    with pytest.raises(EncoderError, match="--engine litert does not compute in bfloat16; openvino does"):
        engines.choose_engine(small, "litert", "bfloat16")
    monkeypatch.setattr(openvino_engine, "is_installed", lambda: False)
    with pytest.raises(EncoderError, match=r"pip install 'heliograph\[openvino\]'"):
        engines.choose_engine(small, "openvino")
    with pytest.raises(EncoderError, match=r"pip install 'heliograph\[openvino\]'"):
        engines.choose_engine(small, "auto", "bfloat16")
    with pytest.raises(EncoderError, match=r"pip install 'heliograph\[openvino\]'"):
        engines.choose_engine(small, "openvino", find_table=lambda candidate: candidate)
    with pytest.raises(EncoderError, match=r"pip install 'heliograph\[openvino\]'"):
        openvino_engine.load_openvino(on(small, "openvino", "float32"))


def test_a_damaged_cache_is_filled_again_by_opening_the_network_once(small, cache, monkeypatch):
    network = conversion.converted_network(small)
    opened, open_again = [], networks.open_again
    monkeypatch.setattr(networks, "open_again", lambda *a: opened.append(a) or open_again(*a))
    monkeypatch.setattr(frozen, "open_again", networks.open_again)
    assert network.path.is_relative_to(cache)
    stamp = network.path.stat().st_mtime_ns
    assert conversion.converted_network(small).path.stat().st_mtime_ns == stamp
    (network.path.parent / "golden.npy").write_bytes(b"")
    again = conversion.converted_network(small)
    assert len(opened) == 1
    assert np.array_equal(again.golden, network.golden)
    assert again.golden.shape == (len(golden_images(small)), 8)
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []


def test_the_converter_runs_in_a_process_of_its_own(small, images, tmp_path):
    expected = resolve.load_encoder(small).encode(images)
    np.testing.assert_allclose(conversion.encode_by_tensorflow(on(small, "litert"), images), expected, rtol=1e-5)
    IN_PROCESS(small, False, str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["golden.npy", "network.tflite"]
    with pytest.raises(EncoderError, match="have changed"):
        IN_PROCESS(dataclasses.replace(small, weights_sha256="0" * 64), False, str(tmp_path))


def test_a_cache_that_cannot_be_written_is_named(small, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(conversion.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(EncoderError, match=r"file cannot be written .*set HELIOGRAPH_CACHE"):
        conversion.converted_network(small)
    assert engines.choose_engine(small).specification.engine == "tensorflow"

import dataclasses
import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from transforms.encoders import resolve
from transforms.encoders.golden import golden_images
from transforms.encoders.specification import EncoderSpecification, Preprocessing
from transforms.errors import EncoderError

_HEAVY = ("tensorflow", "keras", "tf_keras", "tensorflow_hub", "kagglehub", "apache_beam")
_SCRIPT = f"""
import pkgutil, sys, importlib
import transforms.encoders
for module in pkgutil.iter_modules(transforms.encoders.__path__):
    importlib.import_module("transforms.encoders." + module.name)
from transforms.encoders import resolve, tensorflow_runtime
print(resolve.resolve_encoder().fingerprint)
print([name for name in {_HEAVY!r} if name in sys.modules])
tensorflow = tensorflow_runtime.import_tensorflow(threads=1)
tensorflow_runtime.import_keras()
tensorflow_runtime.import_hub()
print(int(tensorflow.constant(1) + 1), tensorflow.config.threading.get_intra_op_parallelism_threads())
"""


def test_nothing_heavy_is_imported_early_and_nothing_is_chatted():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == [resolve.resolve_encoder().fingerprint, "[]", "2 1"]
    assert done.stderr == ""


def test_the_default_is_constants(default_specification):
    assert default_specification == EncoderSpecification(
        name="efficientnet-lite0",
        source="efficientnet-lite0",
        weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        preprocessing=Preprocessing(height=224, width=224),
        scale=(1 / 128,) * 3,
        offset=(-127 / 128,) * 3,
        dimension=1280,
    )


def test_arguments_reach_the_specification():
    found = resolve.resolve_encoder(image_size=(160, 128), resize="lanczos", exact_decode=True).preprocessing
    assert found == Preprocessing(height=160, width=128, resize="lanczos", exact_decode=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": (0, 224)}, "--image-size must be between"),
        ({"image_size": (224, 100_000)}, "--image-size must be between"),
        ({"pixel_range": (1, 0)}, "--pixel-range must rise"),
        ({"pixel_range": (0, float("nan"))}, "--pixel-range must rise"),
        ({"pixel_range": (0, 1)}, "leave out --pixel-range"),
        ({"resize": "nearest"}, "--resize must be one of bilinear"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(EncoderError, match=message):
        resolve.resolve_encoder(**arguments)


def test_an_encoder_is_loaded_once_by_many_threads(default_specification):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(resolve.load_encoder(default_specification))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    restored = EncoderSpecification.from_json(json.loads(json.dumps(default_specification.to_json())))
    found.append(resolve.load_encoder(dataclasses.replace(restored, name="another")))
    assert len(found) == 5
    assert len({id(encoder) for encoder in found}) == 1


def test_any_batch_size_in_any_thread_gives_the_same(default_encoder, default_specification):
    images = golden_images(default_specification)
    whole = default_encoder.encode(images)
    single: dict[int, np.ndarray] = {}

    def encode(position: int) -> None:
        single[position] = default_encoder.encode(images[position : position + 1])

    threads = [threading.Thread(target=encode, args=(position,)) for position in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(np.concatenate([single[position] for position in range(6)]), whole, atol=1e-5)
    assert default_encoder.encode(images[:0]).shape == (0, 1280)
    assert (
        default_encoder.encode(np.asfortranarray(images[:2])).tobytes() == default_encoder.encode(images[:2]).tobytes()
    )


def test_other_batches_are_refused(default_encoder):
    for batch in (
        np.zeros((1, 224, 224, 3), np.float32),
        np.zeros((1, 224, 200, 3), np.uint8),
        np.zeros((224, 224, 3), np.uint8),
        np.zeros((1, 224, 224, 4), np.uint8),
    ):
        with pytest.raises(EncoderError, match="pixels must be uint8"):
            default_encoder.encode(batch)


def test_an_unknown_engine_and_a_wrong_dimension_are_refused(default_specification):
    with pytest.raises(EncoderError, match="no engine 'abacus', only litert, openvino, tensorflow"):
        resolve.load_encoder(dataclasses.replace(default_specification, engine="abacus"))
    with pytest.raises(EncoderError, match=r"expected float32\[1, 1000\]"):
        resolve.load_encoder(dataclasses.replace(default_specification, dimension=1000))
    assert not [key for key, encoder in resolve._LOADED.items() if encoder.specification.dimension == 1000]


def test_the_default_with_other_weights_is_refused(default_specification):
    with pytest.raises(EncoderError, match="have changed"):
        resolve.load_encoder(dataclasses.replace(default_specification, weights_sha256="0" * 64))

import dataclasses
import hashlib

import numpy as np
import pytest

from transforms.encoders import frozen, resolve
from transforms.encoders.golden import TOLERANCES, golden_images, self_test
from transforms.encoders.handle import parse_handle
from transforms.encoders.networks import open_network
from transforms.errors import SelfTestError


@pytest.fixture(scope="module")
def specification():
    return resolve.resolve_encoder(image_size=(96, 96))


@pytest.fixture(scope="module")
def network(tf):
    return open_network(parse_handle("efficientnet-lite0"), image_size=(96, 96))


@pytest.fixture(scope="module")
def encoder(specification, network):
    return frozen.FrozenEncoder(specification, network)


@pytest.fixture(scope="module")
def expected(encoder, specification):
    return encoder.encode(golden_images(specification))


def test_the_images_never_change(default_specification):
    images = golden_images(default_specification)
    assert images.shape == (6, 224, 224, 3)
    assert images.dtype == np.uint8
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    assert digest == "9f9471134cf80e1a31c13cb50045e6b678c2ede6d25b975da081b87fe02c31f0"
    assert len({image.tobytes() for image in images}) == 6


@pytest.mark.parametrize("size", [(8, 8), (96, 33)])
def test_other_sizes(size):
    images = golden_images(resolve.resolve_encoder(image_size=size))
    assert images.shape == (6, *size, 3)
    assert images.std() > 40


def test_the_same_encoder_passes(encoder, expected):
    self_test(encoder, expected)


def test_rounding_passes(encoder, expected):
    noise = np.random.default_rng(0).standard_normal(expected.shape).astype(np.float32)
    self_test(encoder, expected + noise * 1e-4)


def _altered(specification, network, **changes):
    """An encoder whose preprocessing is wrong, and that still says it is the right one."""
    encoder = frozen.FrozenEncoder(dataclasses.replace(specification, **changes), network)
    encoder.specification = specification
    return encoder


@pytest.mark.parametrize(
    "changes",
    [
        {"channel_order": "BGR"},
        {"scale": (1 / 127.5,) * 3, "offset": (-1.0,) * 3},
        {"scale": (1 / 128, 1 / 128, 1 / 120)},
    ],
)
def test_wrong_preprocessing_is_caught(specification, network, expected, changes):
    encoder = _altered(specification, network, **changes)
    with pytest.raises(SelfTestError, match="golden image"):
        self_test(encoder, expected)


def test_other_vectors_are_caught(encoder, expected):
    for wrong in (np.roll(expected, 1, axis=1), expected[:5], np.full_like(expected, np.nan), expected * 0):
        with pytest.raises(SelfTestError):
            self_test(encoder, wrong)


def test_tolerances_widen_with_lower_precision():
    ordered = [TOLERANCES[name] for name in ("float32", "float16", "bfloat16", "int8")]
    assert ordered == sorted(ordered, key=lambda pair: (-pair[0], pair[1]))

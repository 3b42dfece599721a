import os
import pathlib

import numpy as np
import pytest

from transforms.encoders import resolve
from transforms.encoders.operators import ALLOWED, RESTORING, SAVING
from transforms.errors import EncoderError


def _malicious(tf, path):
    """Ways to reach a file, a process or Python, each hidden in another place."""

    def side_effect(images, function):
        with tf.control_dependencies([function()]):
            return tf.identity(images)

    text = tf.constant("text")
    return {
        "WriteFile": lambda images: side_effect(images, lambda: tf.io.write_file(str(path), text)),
        "ReadFile": lambda images: images + tf.cast(tf.strings.length(tf.io.read_file(str(path))), tf.float32),
        "MatchingFiles": lambda images: images + tf.cast(tf.size(tf.io.matching_files("/*")), tf.float32),
        "EagerPyFunc": lambda images: tf.ensure_shape(
            tf.py_function(lambda x: x, [images], tf.float32), [None, 20, 24, 3]
        ),
        "PyFunc": lambda images: tf.ensure_shape(
            tf.numpy_function(lambda x: x, [images], tf.float32), [None, 20, 24, 3]
        ),
        "PrintV2": lambda images: side_effect(
            images, lambda: tf.raw_ops.PrintV2(input=text, output_stream=f"file://{path}")
        ),
        "SaveV2": lambda images: side_effect(
            images,
            lambda: tf.raw_ops.SaveV2(prefix=str(path), tensor_names=["x"], shape_and_slices=[""], tensors=[images]),
        ),
        "RestoreV2": lambda images: (
            images
            + tf.raw_ops.RestoreV2(prefix=str(path), tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])[0][
                ..., :1
            ]
        ),
        "FixedLengthRecordDataset": lambda images: side_effect(
            images,
            lambda: tf.raw_ops.DatasetCardinality(
                input_dataset=tf.raw_ops.FixedLengthRecordDataset(
                    filenames=str(path), header_bytes=0, record_bytes=1, footer_bytes=0, buffer_size=1
                )
            ),
        ),
    }


@pytest.mark.parametrize(
    "operator",
    [
        "WriteFile",
        "ReadFile",
        "MatchingFiles",
        "EagerPyFunc",
        "PyFunc",
        "PrintV2",
        "SaveV2",
        "RestoreV2",
        "FixedLengthRecordDataset",
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_operators_that_do_more_than_compute_are_refused(tf, tmp_path, save_module, project, operator, nested):
    victim = tmp_path / "victim"
    attack = _malicious(tf, victim)[operator]

    def function(images, weight):
        if nested:
            deep = tf.function(lambda x: tf.cond(tf.reduce_sum(x) >= 0, lambda: attack(x), lambda: x))
            return project(
                tf.while_loop(
                    lambda i, x: i < 1, lambda i, x: (i + 1, tf.ensure_shape(deep(x), images.shape)), (0, images)
                )[1],
                weight,
            )
        return project(attack(images), weight)

    path = save_module(function)
    with pytest.raises(EncoderError, match=rf"its graph uses .*\b{operator}\b.*--trust-model"):
        resolve.resolve_encoder(path, pixel_range=(0, 1))
    assert not victim.exists()


def test_a_load_time_initialiser_is_scanned(tf, tmp_path):
    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[])

        def _initialize(self):
            tf.io.write_file(str(tmp_path / "victim"), "text")

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.resource = Resource()

        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3])])
        def __call__(self, images):
            tf.raw_ops.VarIsInitializedOp(resource=self.resource.resource_handle)
            return tf.reduce_mean(images, (1, 2))

    tf.saved_model.save(Module(), str(tmp_path / "model"))
    (tmp_path / "victim").unlink(missing_ok=True)
    with pytest.raises(EncoderError, match="WriteFile"):
        resolve.resolve_encoder(str(tmp_path / "model"), pixel_range=(0, 1))
    assert not (tmp_path / "victim").exists()


def test_a_trusted_model_is_loaded(tf, tmp_path, save_module, project, pixels):
    extra = tmp_path / "extra"
    extra.write_text("abc")
    attack = _malicious(tf, extra)["ReadFile"]
    path = save_module(lambda images, weight: project(attack(images), weight))
    specification = resolve.resolve_encoder(path, pixel_range=(0, 255), trust_model=True)
    encoder = resolve.load_encoder(specification, trust_model=True)
    expected = (pixels.astype(np.float64).mean((1, 2)) + 3) @ np.linspace(-1, 2, 15).reshape(3, 5)
    np.testing.assert_allclose(encoder.encode(pixels), expected, rtol=1e-4, atol=1e-3)


def test_the_lists_are_disjoint_and_hold_nothing_that_touches_the_world():
    assert not ALLOWED & (SAVING | RESTORING)
    words = (
        "File",
        "PyFunc",
        "Print",
        "Dataset",
        "Reader",
        "Queue",
        "Rpc",
        "Remote",
        "Summary",
        "Debug",
        "Lookup",
    )
    assert not [name for name in ALLOWED if any(word in name for word in words)]


def test_links_pipes_and_other_formats_are_refused(save_module, project, tmp_path):
    def attempt(message):
        with pytest.raises(EncoderError, match=message):
            resolve.resolve_encoder(str(path), pixel_range=(0, 1))

    path = pathlib.Path(save_module(project))
    (path / "saved_model.cpb").touch()
    attempt("remove the one that is not meant")
    (path / "saved_model.cpb").unlink()
    os.mkfifo(path / "assets" / "pipe")
    attempt("no regular file")
    (path / "assets" / "pipe").unlink()
    (path / "variables").rename(tmp_path / "elsewhere")
    (path / "variables").symlink_to(tmp_path / "elsewhere")
    attempt("is a link")
    (path / "saved_model.pb").write_bytes(b"\xff not a protocol buffer")
    (path / "variables").unlink()
    attempt("is damaged")
    (path / "saved_model.pb").rename(path / "saved_model.pbtxt")
    attempt("has no saved_model.pb .only saved_model.pbtxt")

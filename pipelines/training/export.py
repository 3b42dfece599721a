"""The exported SavedModel: image bytes to labels and probabilities, decoding and preprocessing inside."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.training.serving import preprocess_bytes
from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import keras_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import import_tensorflow
from transforms.errors import InputError, OptionError, SelfTestError
from transforms.files import filesystem
from transforms.model.head import Head

TOLERANCE = 1e-3
"""By how much a probability of the exported model may differ from the batch path's."""

_FLOAT32 = "float32"


def build_served_model(head: Head, specification: EncoderSpecification, trust_model: bool = False) -> Any:
    """Builds the module that is exported.

    Returns:
      A tf.Module with two functions, which become the signatures ``serving_default`` and ``labels``:
      ``serve(key: string[B], image_bytes: string[B])`` gives ``key``, ``prediction`` (string[B], the label)
      and ``scores`` (float32[B, C]); ``read_labels()`` gives ``labels`` (string[C]), the order of the scores.

    Raises:
      EncoderError: the encoder cannot be loaded.
    """
    tf = import_tensorflow()
    encoder = keras_encoder(specification, trust_model)
    strings = tf.TensorSpec([None], tf.string)
    preprocessing = specification.preprocessing
    pixels = tf.TensorSpec([preprocessing.height, preprocessing.width, 3], tf.uint8)

    class ServedModel(tf.Module):  # type: ignore[misc,name-defined]
        """Decoding, preprocessing, encoder, head."""

        def __init__(self) -> None:
            super().__init__(name="heliograph")
            self.encoder = encoder
            self.layers = [
                (tf.Variable(weights, trainable=False), tf.Variable(bias, trainable=False))
                for weights, bias in head.folded
            ]

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="key"), strings])
        def serve(self, key: Any, image_bytes: Any) -> dict[str, Any]:
            """Classifies encoded images; one that is broken or of a format not served fails the call."""
            same = tf.debugging.assert_equal(tf.size(key), tf.size(image_bytes), "a key for each image is needed")
            with tf.control_dependencies([same]):
                images = tf.map_fn(
                    lambda data: preprocess_bytes(data, preprocessing),
                    image_bytes,
                    fn_output_signature=pixels,
                )
            scores = self.classify(self.encoder(images))
            labels = tf.constant(head.labels)
            return {"key": key, "prediction": tf.gather(labels, tf.argmax(scores, axis=1)), "scores": scores}

        @tf.function(input_signature=[])
        def read_labels(self) -> dict[str, Any]:
            """Returns the labels in the order of the scores."""
            return {"labels": tf.constant(head.labels)}

        def classify(self, vectors: Any) -> Any:
            """Maps vectors to probabilities, as Head does."""
            *hidden, (weights, bias) = self.layers
            for hidden_weights, hidden_bias in hidden:
                vectors = tf.nn.relu(vectors @ hidden_weights + hidden_bias)
            logits = vectors @ weights + bias
            return tf.nn.softmax(logits) if head.activation == "softmax" else tf.nn.sigmoid(logits)

    return ServedModel()


def save_served_model(model: Any, directory: str, labels: Sequence[str]) -> None:
    """Writes ``saved_model.pb``, ``variables/`` and ``assets/labels.txt`` into a directory that exists."""
    tf = import_tensorflow()
    with tempfile.TemporaryDirectory() as temporary:
        path = os.path.join(temporary, "labels.txt")
        with open(path, "wb") as stream:
            stream.write(labels_file(labels))
        model.labels_file = tf.saved_model.Asset(path)
        signatures = {"serving_default": model.serve, "labels": model.read_labels}
        tf.saved_model.save(model, directory, signatures=signatures)


def labels_file(labels: Sequence[str]) -> bytes:
    """Returns labels.txt: a label a line, in the order of the outputs; line breaks in them become blanks."""
    return "".join(" ".join(label.splitlines()) + "\n" for label in labels).encode("utf-8", "surrogateescape")


def write_labels(address: str, labels: Sequence[str]) -> None:
    """Writes labels.txt to ``--labels-output-file``.

    Raises:
      OptionError: it cannot be written.
    """
    try:
        system, path = filesystem.open_filesystem(address)
        filesystem.write_atomically(system, path, labels_file(labels))
    except (OSError, InputError) as error:
        raise OptionError(f"--labels-output-file {address} cannot be written: {error}") from error


def check_served_model(
    model: Any, head: Head, specification: EncoderSpecification, golden: npt.NDArray[np.float32]
) -> float:
    """Compares the exported model with the batch path on the golden images.

    Args:
      model: as build_served_model gives it.
      head: the same.
      specification: of the encoder.
      golden: ``float32[G, D]``, the batch path's vectors of the golden images.

    Returns:
      The largest difference of a probability.

    Raises:
      SelfTestError: when it is above TOLERANCE and the encoder computes in float32.
    """
    files = [_png(image) for image in golden_images(specification)]
    scores = model.serve(np.array([b""] * len(files)), np.array(files, object))["scores"].numpy()
    difference = float(np.abs(scores - head.probabilities(golden)).max())
    if not difference <= TOLERANCE and specification.precision == _FLOAT32:
        raise SelfTestError(
            f"the model to export gives probabilities {difference:.2g} off those of the stored vectors "
            f"(at most {TOLERANCE:g}); embed the images again with this version, then train"
        )
    return difference


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()

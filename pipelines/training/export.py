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
from transforms.encoders.specification import EncoderSpecification, Preprocessing
from transforms.encoders.tensorflow_runtime import import_tensorflow
from transforms.errors import InputError, OptionError, SelfTestError
from transforms.files import filesystem
from transforms.model.decision import DECISION, NONE_OF_THESE
from transforms.model.head import Head

TOLERANCE = 1e-3
"""By how much a logit of the exported model may differ from the batch path's, relative to the largest."""

_FLOAT32 = "float32"


def build_served_model(head: Head, specification: EncoderSpecification, trust_model: bool = False) -> Any:
    """Builds the module that is exported.

    Returns:
      A tf.Module with two functions, which become the signatures ``serving_default`` and ``labels``:
      ``serve(key: string[B], image_bytes: string[B])`` gives ``key``, ``prediction`` (string[B], the label)
      and ``scores`` (float32[B, C]), with sigmoids also ``predicted`` (bool[B, C], the labels that an image is
      said to have; ``prediction`` is the most probable one); ``read_labels()`` gives ``labels`` (string[C]), the
      order of the scores.

    Raises:
      EncoderError: the encoder cannot be loaded.
    """
    tf = import_tensorflow()
    encoder = keras_encoder(specification, trust_model)
    strings = tf.TensorSpec([None], tf.string)

    class ServedModel(tf.Module):  # type: ignore[misc,name-defined]
        """Decoding, preprocessing, encoder, head; TensorFlow is imported late, so its class is made late."""

        def __init__(self) -> None:
            super().__init__(name="heliograph")
            self.encoder = encoder
            self.layers = [[tf.Variable(array, trainable=False) for array in layer] for layer in head.folded]
            # concrete: what is traced here is checked, served and saved; saving traces other functions again
            self.logits = tf.function(self._logits, [strings], autograph=False).get_concrete_function()

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="key"), strings], autograph=False)
        def serve(self, key: Any, image_bytes: Any) -> dict[str, Any]:
            """Classifies encoded images; one that is broken or of a format not served fails the call."""
            images = _check_batch(key, image_bytes)
            logits = self.logits(images)
            scores = tf.nn.softmax(logits) if head.activation == "softmax" else tf.nn.sigmoid(logits)
            predicted, labels = _decide(scores, head)
            several = {} if head.activation == "softmax" else {"predicted": predicted}
            return {"key": key, "prediction": labels, "scores": scores, **several}

        @tf.function(input_signature=[], autograph=False)
        def read_labels(self) -> dict[str, Any]:
            """Returns the labels in the order of the scores."""
            return {"labels": tf.constant(head.labels)}

        def _logits(self, image_bytes: Any) -> Any:
            """Maps encoded images to logits, divided by the temperature."""
            *hidden, (weights, bias) = self.layers
            vectors = self.encoder(_decode(image_bytes, specification.preprocessing))
            for hidden_weights, hidden_bias in hidden:
                vectors = tf.nn.relu(vectors @ hidden_weights + hidden_bias)
            return vectors @ weights + bias

    return ServedModel()


def _decide(scores: Any, head: Head) -> tuple[Any, Any]:
    """Does what Head.decide does, in TensorFlow.

    Returns:
      bool[B, C], the labels that each image is said to have; string[B], the most confident of them, of one label an
      image (and with thresholds) NONE_OF_THESE when there is none.
    """
    tf = import_tensorflow()
    decision, first = head.decision, tf.argmax(scores, axis=1)
    names, sure = tf.constant((*head.labels, NONE_OF_THESE)), tf.reduce_max(scores, axis=1) >= decision.none_below
    if head.activation == "sigmoid":
        limits = decision.limits(DECISION) if decision.thresholds else DECISION
        predicted = (scores >= limits) & sure[:, None]
        if not decision.always_first:
            first = tf.argmax(tf.where(predicted, scores, -1.0), axis=1)
        answered = tf.reduce_any(predicted, axis=1) | decision.always_first
        return predicted, tf.gather(names, tf.where(answered, first, len(head.labels)))
    if decision.thresholds:
        limits = decision.limits(np.inf)
        ratios, free = scores / limits, tf.where(np.isinf(limits), scores, -1.0)
        reached = tf.reduce_max(ratios, axis=1) >= 1
        first = tf.where(reached, tf.argmax(ratios, axis=1), tf.argmax(free, axis=1))
        sure &= reached | (tf.reduce_max(free, axis=1) >= 0)
    answers = tf.where(sure, first, len(head.labels))
    return tf.one_hot(answers, len(head.labels), True, False), tf.gather(names, answers)


def _check_batch(key: Any, image_bytes: Any) -> Any:
    """Returns ``image_bytes`` once there is one at least and a key for each."""
    tf = import_tensorflow()
    checks = [
        tf.debugging.assert_equal(tf.size(key), tf.size(image_bytes), "a key for each image is needed"),
        tf.debugging.assert_positive(tf.size(image_bytes), "one image at least is needed"),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(image_bytes)


def _decode(image_bytes: Any, preprocessing: Preprocessing) -> Any:
    """Maps string[B] to uint8[B, height, width, 3]."""
    tf = import_tensorflow()
    return tf.map_fn(
        lambda data: preprocess_bytes(data, preprocessing),
        image_bytes,
        fn_output_signature=tf.TensorSpec([preprocessing.height, preprocessing.width, 3], tf.uint8),
    )


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
    """Compares the exported model with the batch path on the golden images, from PNG files to logits.

    Probabilities are too blunt for it: pictures unlike any photograph have some of 0 and 1.

    Args:
      model: as build_served_model gives it.
      head: the same.
      specification: of the encoder.
      golden: ``float32[G, D]``, the batch path's vectors of the golden images.

    Returns:
      The largest difference of a logit, as a share of the largest logit (or of 1).

    Raises:
      SelfTestError: when it is above TOLERANCE and the encoder computes in float32.
    """
    tf = import_tensorflow()
    files = tf.constant([_png(image) for image in golden_images(specification)])
    expected = head.logits(golden)
    difference = np.abs(model.logits(files).numpy() - expected).max()
    share = float(difference / max(np.abs(expected).max(), 1.0))
    if not share <= TOLERANCE and specification.precision == _FLOAT32:
        raise SelfTestError(
            f"the model to export gives logits {share:.2g} off those of the stored vectors (at most "
            f"{TOLERANCE:g}); embed the images again with this version, then train"
        )
    return share


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()

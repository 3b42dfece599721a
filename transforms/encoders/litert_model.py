"""A whole classifier for LiteRT: encoder and dense layers in one file, and what runs it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transforms.encoders.conversion import reference
from transforms.encoders.encoder import Pixels, Vectors
from transforms.encoders.frozen import freeze
from transforms.encoders.litert_file import litert_file
from transforms.encoders.networks import open_again
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import import_tensorflow, without_chatter

Layers = Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
"""(weights ``[inputs, outputs]``, bias ``[outputs]``) of each layer, with ReLU between them."""


def convert_with_head(
    specification: EncoderSpecification, layers: Layers, activation: str, trust_model: bool = False
) -> bytes:
    """Converts an encoder with dense layers after it.

    Args:
      specification: of the encoder.
      layers: raw vectors to logits.
      activation: ``softmax`` or ``sigmoid``.
      trust_model: converts models that carry code as well.

    Returns:
      A .tflite file: ``uint8[1, height, width, 3]`` to probabilities ``float32[1, C]``.

    Raises:
      EncoderError: the network cannot be loaded or converted.
    """
    tensorflow = import_tensorflow()
    original = reference(specification)
    size = original.preprocessing
    network = open_again(original, trust_model)
    encode = freeze(original, network, batch=1)

    def classify(pixels: object) -> object:
        output = encode(pixels)
        values = output[0] if isinstance(output, list | tuple) else output
        *hidden, (weights, bias) = layers
        for hidden_weights, hidden_bias in hidden:
            values = tensorflow.nn.relu(values @ hidden_weights + hidden_bias)
        return getattr(tensorflow.nn, activation)(values @ weights + bias)

    shape = tensorflow.TensorSpec([1, size.height, size.width, 3], tensorflow.uint8, name="pixels")
    whole = tensorflow.function(classify, autograph=False).get_concrete_function(shape)
    return litert_file(whole, network.trackable, original.source)


class LiteRTModel:
    """Runs what convert_with_head makes, an image at a time."""

    def __init__(self, data: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with without_chatter():
            self._interpreter = Interpreter(model_content=data)
            self._interpreter.allocate_tensors()
        self._source = self._interpreter.get_input_details()[0]["index"]
        self._target = self._interpreter.get_output_details()[0]["index"]

    def probabilities(self, pixels: Pixels) -> Vectors:
        """Maps ``uint8[N, height, width, 3]`` to ``float32[N, C]``."""
        found = []
        for image in pixels:
            self._interpreter.set_tensor(self._source, image[np.newaxis])
            self._interpreter.invoke()
            found.append(self._interpreter.get_tensor(self._target)[0])
        return np.array(found, np.float32)

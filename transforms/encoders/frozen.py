"""The ``tensorflow`` engine: a network as one function with its variables turned into constants."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from transforms.encoders.difference import difference
from transforms.encoders.encoder import Pixels, Vectors, check_pixels
from transforms.encoders.folding import fold_batch_norms
from transforms.encoders.golden import golden_images
from transforms.encoders.network import Network, encode_images
from transforms.encoders.networks import open_again
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import first_line, import_tensorflow, loading_errors
from transforms.errors import EncoderError

MAX_CONSTANT_BYTES = 1_800_000_000
"""Constants live in a protocol buffer, which ends at 2 GiB; larger networks keep their variables."""

LEAST_FOLDED_COSINE = 0.999999
"""With the vector of the same golden image before BatchNorm was folded: what is demanded of each."""


class FrozenEncoder:
    """A frozen TensorFlow function from uint8 images to float32 vectors.

    Scale, offset and order of channels are inside the graph. One trace serves every batch size.
    """

    def __init__(self, specification: EncoderSpecification, network: Network) -> None:
        self.specification = specification
        self._function = _folded(specification, freeze(specification, network))
        # What could not be turned into constants lives as long as the network does.
        self._network = network if self._function.captured_inputs else None
        self._constant = import_tensorflow().constant

    def encode(self, pixels: Pixels) -> Vectors:
        """uint8[B, height, width, 3], RGB, any B, to float32[B, dimension].

        Raises:
          EncoderError: another shape or type.
        """
        check_pixels(pixels, self.specification)
        if not len(pixels):
            return np.zeros((0, self.specification.dimension), np.float32)
        return _vectors(self._function(self._constant(pixels)))


def load_frozen(
    specification: EncoderSpecification, trust_model: bool = False, threads: int | None = None
) -> FrozenEncoder:
    """Loads the network of a specification and freezes it.

    Args:
      specification: of an encoder for this engine.
      trust_model: loads models that carry code as well.
      threads: TensorFlow's intra-op threads, heeded if it has not run anything in this process.

    Raises:
      EncoderError: the network cannot be loaded, has other weights, or gives other vectors than the
        specification says.
    """
    import_tensorflow(threads)
    return frozen_of(specification, open_again(specification, trust_model))


def frozen_of(specification: EncoderSpecification, network: Network) -> FrozenEncoder:
    """Freezes a network that is open.

    Raises:
      EncoderError: it cannot be run, or gives other vectors than the specification says.
    """
    size = specification.preprocessing
    try:
        encoder = FrozenEncoder(specification, network)
        vectors = encoder.encode(np.zeros((1, size.height, size.width, 3), np.uint8))
    except loading_errors() as error:
        raise EncoderError(f"{specification.source} cannot be run: {first_line(error)}") from error
    if vectors.shape != (1, specification.dimension) or vectors.dtype != np.float32:
        raise EncoderError(
            f"{specification.source} gives {vectors.dtype}{list(vectors.shape)} for one image,"
            f" expected float32[1, {specification.dimension}]"
        )
    return encoder


def freeze(
    specification: EncoderSpecification, network: Network, batch: int | None = None, dtype: str = "uint8"
) -> Any:
    """Traces images to vectors once and turns variables into constants.

    Args:
      specification: of the encoder.
      network: as its source gives it.
      batch: images a call; by default any number.
      dtype: of the images.

    Returns:
      A concrete function; with its variables still, when they are larger than MAX_CONSTANT_BYTES.
    """
    tensorflow = import_tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    size = specification.preprocessing
    shape = tensorflow.TensorSpec([batch, size.height, size.width, 3], dtype)
    traced = tensorflow.function(
        lambda pixels: encode_images(pixels, specification, network), autograph=False
    ).get_concrete_function(shape)
    held = sum(variable.dtype.size * int(np.prod(variable.shape)) for variable in traced.variables)
    if held > MAX_CONSTANT_BYTES:
        return traced
    return convert_variables_to_constants_v2(traced, lower_control_flow=False)


def _folded(specification: EncoderSpecification, function: Any) -> Any:
    """The function with its BatchNorm folded, or as it is where that fails or gives other vectors."""
    try:
        folded = fold_batch_norms(function)
        if folded is function:
            return function
        images = import_tensorflow().constant(golden_images(specification))
        least = difference(_vectors(folded(images)), _vectors(function(images))).least
        reason = f"the vectors would have cosine {least:.6f}"
    except loading_errors() as error:
        least, reason = 0.0, first_line(error)
    if least >= LEAST_FOLDED_COSINE:
        return folded
    logging.getLogger(__name__).warning("%s: BatchNorm is not folded: %s", specification.source, reason)
    return function


def _vectors(output: Any) -> Vectors:
    vectors: Vectors = (output[0] if isinstance(output, list | tuple) else output).numpy()
    return vectors

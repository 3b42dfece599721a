"""An encoder as a module with variables, for an exported SavedModel."""

from __future__ import annotations

from typing import Any

from transforms.encoders.network import Network, encode_images
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import import_tensorflow


def serving_module(specification: EncoderSpecification, network: Network) -> Any:
    """Wraps a network into a tf.Module that tracks its variables once.

    The Keras model itself is not attached: exporting it too would store every weight twice.

    Returns:
      Called with [B, height, width, 3] RGB images of 0…255, uint8 or float32, it gives
      float32[B, dimension]. ``all_variables`` are the network's variables in a fixed order.
    """
    tensorflow = import_tensorflow()

    class ServingEncoder(tensorflow.Module):  # type: ignore[misc,name-defined]
        """The encoder; TensorFlow is imported late, so its class is made late too."""

        def __init__(self) -> None:
            super().__init__(name="encoder")
            self.trackable = network.trackable

        @property
        def all_variables(self) -> tuple[Any, ...]:
            """The network's variables in a fixed order."""
            return network.variables

        def __call__(self, images: Any) -> Any:
            return encode_images(images, specification, network)

    return ServingEncoder()

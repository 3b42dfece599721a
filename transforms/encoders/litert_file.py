"""A traced function as a .tflite file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transforms.encoders.tensorflow_runtime import first_line, import_tensorflow, without_chatter
from transforms.errors import EncoderError


def litert_file(function: Any, trackable: Any, source: str, samples: Sequence[Any] | None = None) -> bytes:
    """Converts a concrete function of one image to LiteRT.

    Args:
      function: as transforms.encoders.frozen.freeze gives it.
      trackable: what holds its variables.
      source: the encoder's, for messages.
      samples: inputs ``float32[1, height, width, 3]`` by whose ranges all is computed in int8, from uint8 on.

    Raises:
      EncoderError: LiteRT cannot compute it.
    """
    tensorflow = import_tensorflow()
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([function], trackable_obj=trackable)
    if samples is not None:
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.inference_input_type = tensorflow.uint8
    try:
        with without_chatter():
            data: bytes = converter.convert()
    except Exception as error:
        precision = "" if samples is None else " in int8"
        raise EncoderError(f"LiteRT cannot compute {source}{precision}: {first_line(error)}") from error
    return data

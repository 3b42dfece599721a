"""A network in int8: ranges measured on calibration images, then every layer's mean set right again."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.encoders.encoder import Pixels
from transforms.encoders.frozen import freeze
from transforms.encoders.litert_file import litert_file
from transforms.encoders.network import Network
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import without_chatter

CORRECTION_IMAGES = 32
"""Calibration images over which the layers' means are compared at most; more of them change nothing."""

CORRECTION_SECONDS = 60.0
"""That the comparison may take, about; a large network has fewer images, or none."""

Means = dict[str, npt.NDArray[np.float32]]
"""Mean of each channel, by the tensor's name."""


def quantise(specification: EncoderSpecification, network: Network, pixels: Pixels) -> bytes:
    """Converts a network to LiteRT with int8 weights and activations.

    Rounding shifts the mean of a layer's output, and the shifts add up from layer to layer (Nagel et al. 2019,
    section 4.2). So each bias is corrected by what its layer's mean is off, from the first layer to the last.

    Args:
      specification: of the encoder; its engine and precision do not count.
      network: as its source gives it.
      pixels: ``uint8[N, height, width, 3]``, calibration images.

    Returns:
      A .tflite file: ``uint8[1, height, width, 3]`` to ``float32[1, D]``.

    Raises:
      EncoderError: LiteRT cannot compute the network, or not in int8.
    """
    scale, offset = _input_range(specification)
    # Pixels 0 and 255 among the images make the uint8 input's own scale and zero point those of the network.
    images = pixels.copy()
    images[0, 0, :2] = [[0], [255]]
    inside = dataclasses.replace(specification, scale=(1.0,) * 3, offset=(0.0,) * 3) if scale != 1 else specification
    samples = [image[np.newaxis].astype(np.float32) * np.float32(scale) + np.float32(offset) for image in images]
    function = freeze(inside, network, batch=1, dtype="float32")
    original = litert_file(function, network.trackable, specification.source)
    quantised = litert_file(function, network.trackable, specification.source, samples)
    few = slice(0, CORRECTION_IMAGES)
    return _correct_biases(original, quantised, samples[few], [image[np.newaxis] for image in images[few]])


def _input_range(specification: EncoderSpecification) -> tuple[float, float]:
    """Scale and offset that the quantised input takes over: the network's, where all channels share them."""
    scales, offsets = set(specification.scale), set(specification.offset)
    if len(scales) == len(offsets) == 1 and min(scales) > 0:
        return specification.scale[0], specification.offset[0]
    return 1.0, 0.0


def _correct_biases(original: bytes, quantised: bytes, samples: Sequence[Any], images: Sequence[Any]) -> bytes:
    """Adds to each int32 bias what the mean of its layer's output lacks, one layer after the other."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(quantised))
    graph = model.subgraphs[0]
    started = time.perf_counter()
    _channel_means(quantised, images[:1], [])
    layers = sum(_int32_bias(graph, operator) is not None for operator in graph.operators)
    affordable = int(CORRECTION_SECONDS / max(layers, 1) / (time.perf_counter() - started))
    if not affordable:
        return quantised
    samples, images = samples[:affordable], images[:affordable]
    expected = _channel_means(original, samples, [tensor.name.decode() for tensor in graph.tensors])
    for operator in graph.operators:
        bias = _int32_bias(graph, operator)
        name = graph.tensors[operator.outputs[0]].name.decode()
        if bias is None or name not in expected:
            continue
        buffer = model.buffers[bias.buffer]
        found = _channel_means(bytes(flatbuffer_utils.convert_object_to_bytearray(model)), images, [name])
        values = np.frombuffer(bytes(bytearray(buffer.data)), np.int32)
        steps = np.round((expected[name] - found[name]) / np.asarray(bias.quantization.scale))
        if steps.shape == values.shape:
            buffer.data = np.frombuffer((values + steps.astype(np.int32)).tobytes(), np.uint8)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _int32_bias(graph: Any, operator: Any) -> Any:
    """The quantised bias of a convolution or dense layer, None where there is none."""
    if len(operator.inputs) != 3 or operator.inputs[2] < 0:
        return None
    from tensorflow.lite.python import schema_py_generated as schema

    bias = graph.tensors[operator.inputs[2]]
    quantised = bias.quantization is not None and bias.quantization.scale is not None
    return bias if quantised and bias.type == schema.TensorType.INT32 else None


def _channel_means(data: bytes, inputs: Sequence[Any], names: Sequence[str]) -> Means:
    """Runs a .tflite file and returns the mean of each channel of those tensors that it has."""
    from ai_edge_litert.interpreter import Interpreter

    with _quiet():
        interpreter = Interpreter(model_content=data, num_threads=1, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    wanted = [detail for detail in interpreter.get_tensor_details() if detail["name"] in set(names)]
    source = interpreter.get_input_details()[0]["index"]
    sums: dict[str, Any] = {}
    for image in inputs:
        interpreter.set_tensor(source, image)
        interpreter.invoke()
        for detail in wanted:
            with contextlib.suppress(ValueError):  # a tensor that holds nothing at run time
                values = interpreter.get_tensor(detail["index"])
                if values.ndim > 1:
                    mean = values.reshape(-1, values.shape[-1]).mean(0, dtype=np.float32)
                    sums[detail["name"]] = sums.get(detail["name"], 0) + _real(mean, detail)
    return {name: total / len(inputs) for name, total in sums.items()}


def _real(values: npt.NDArray[np.float32], detail: Any) -> npt.NDArray[np.float32]:
    """What quantised values of a tensor stand for."""
    scale, zero_point = detail["quantization"]
    real: npt.NDArray[np.float32] = (values - np.float32(zero_point)) * np.float32(scale) if scale else values
    return real


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), without_chatter():
        warnings.simplefilter("ignore")  # that keeping all tensors costs memory
        yield

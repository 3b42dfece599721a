"""Biases that make up for weights rounded to bfloat16, in a network that OpenVINO has read.

A rounded weight is off by d, so the mean of its layer's output is off by d times the mean of its input; over fifty
layers the shifts add up. Taking them from the biases costs nothing when the network runs (Nagel et al. 2019, 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.encoders.encoder import Pixels

Floats = npt.NDArray[np.float32]

_CONVOLUTIONS = ("Convolution", "GroupConvolution")


def correct_biases(openvino: Any, network: Any, means: Sequence[npt.NDArray[np.float64]]) -> None:
    """Takes from each convolution's bias what rounding its weights adds to the mean of its output.

    Convolutions without constant weights or a constant bias are left alone.

    Args:
      openvino: the module.
      network: an openvino.Model, changed in place.
      means: of each convolution's input, by channel, as mean_inputs gives them.
    """
    for convolution, mean in zip(_convolutions(network), means, strict=True):
        weights, place = convolution.input_value(1).get_node(), _bias_of(convolution)
        if place is None or weights.get_type_name() != "Constant":
            continue
        bias = np.array(place.get_source_output().get_node().data)
        values = np.array(weights.data)
        shift = mean_shift(values if convolution.get_type_name() == _CONVOLUTIONS[1] else values[np.newaxis], mean)
        if bias.dtype == np.float32 and bias.size == shift.size:
            corrected = openvino.opset8.constant(bias - shift.reshape(bias.shape))
            place.replace_source_output(corrected.output(0))


def mean_inputs(openvino: Any, core: Any, network: Any, images: Pixels) -> list[npt.NDArray[np.float64]]:
    """Returns the mean of each convolution's input over images and places, by channel, computed in float32.

    Args:
      openvino: the module.
      core: an openvino.Core.
      network: an openvino.Model of one image, which is of no use afterwards.
      images: ``uint8[N, height, width, 3]``.
    """
    operations = openvino.opset8
    inputs = [convolution.input_value(0) for convolution in _convolutions(network)]
    if not inputs:
        return []
    places = [[0, *range(2, len(value.get_partial_shape()))] for value in inputs]
    means = [operations.reduce_mean(value, np.array(axes), False) for value, axes in zip(inputs, places, strict=True)]
    measured = openvino.Model([operations.result(mean) for mean in means], network.get_parameters())
    settings = {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    request = core.compile_model(measured, "CPU", settings).create_infer_request()
    found = [list(map(np.array, request.infer([image[np.newaxis]]).values())) for image in images]
    return [np.stack(values).mean(axis=0, dtype=np.float64) for values in zip(*found, strict=True)]


def mean_shift(weights: Floats, mean: npt.NDArray[np.float64]) -> Floats:
    """Returns ``[channels]``, what rounding the weights to bfloat16 adds to the mean of each output channel.

    Args:
      weights: ``[groups, outputs of a group, inputs of a group, …]``.
      mean: of the input, by channel.
    """
    lost = (to_bfloat16(weights).astype(np.float64) - weights).sum(axis=tuple(range(3, weights.ndim)))
    shift: Floats = np.einsum("goi,gi->go", lost, mean.reshape(len(lost), -1)).ravel().astype(np.float32)
    return shift


def to_bfloat16(values: Floats) -> Floats:
    """Rounds to the nearest number of bfloat16, ties to even; finite values."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32).reshape(values.shape)


def _convolutions(network: Any) -> list[Any]:
    return [node for node in network.get_ordered_ops() if node.get_type_name() in _CONVOLUTIONS]


def _bias_of(convolution: Any) -> Any:
    """Returns the input of the Add behind a convolution that is a constant; None where there is none."""
    users = list(convolution.output(0).get_target_inputs())
    if len(users) != 1 or users[0].get_node().get_type_name() != "Add":
        return None
    places = users[0].get_node().inputs()
    return next((p for p in places if p.get_source_output().get_node().get_type_name() == "Constant"), None)

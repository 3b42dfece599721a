"""The encoder behind a handle: described, loaded for encoding, or built for export."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

from transforms.encoders import efficientnet_lite0, frozen, litert, openvino_engine
from transforms.encoders.calibration import fetch_calibration
from transforms.encoders.devices import DEVICES, settle_device
from transforms.encoders.encoder import Encoder
from transforms.encoders.handle import Handle, Kind, parse_handle
from transforms.encoders.network import Network, affine_range, probe
from transforms.encoders.networks import open_again, open_network
from transforms.encoders.serving_module import serving_module
from transforms.encoders.specification import EncoderSpecification, Preprocessing
from transforms.errors import EncoderError

ENGINES: dict[str, Callable[[EncoderSpecification, bool, int | None], Encoder]] = {
    "tensorflow": frozen.load_frozen,
    "litert": litert.load_litert,
    "openvino": openvino_engine.load_openvino,
}
"""What computes vectors, by the specification's engine."""

DEFAULT = efficientnet_lite0.NAME
RESIZES = ("bilinear", "bicubic", "lanczos", "box")
MIN_SIDE, MAX_SIDE = 8, 4096

_LOADED: dict[str, Encoder] = {}
_LOADING = threading.Lock()


def resolve_encoder(
    handle: str = DEFAULT,
    *,
    image_size: tuple[int, int] | None = None,
    pixel_range: tuple[float, float] | None = None,
    resize: str | None = None,
    exact_decode: bool = False,
    trust_model: bool = False,
) -> EncoderSpecification:
    """Describes the encoder behind a handle; every kind but the default's is loaded to be looked at.

    Args:
      handle: see parse_handle.
      image_size: height and width; needed when the model leaves them open.
      pixel_range: the values that black and white have for the model; needed when nothing tells.
      resize: one of RESIZES, by default bilinear.
      exact_decode: decode large JPEGs fully.
      trust_model: loads models that carry code as well.

    Raises:
      EncoderError: the model cannot be found, loaded or trusted, contradicts the arguments, or leaves
        something open that no argument says.
    """
    parsed = parse_handle(handle)
    _check_arguments(image_size, pixel_range, resize)
    decoding: dict[str, Any] = {"resize": resize or RESIZES[0], "exact_decode": exact_decode}
    if parsed.kind is Kind.DEFAULT:
        if pixel_range is not None:
            raise EncoderError(f"{handle} has its own pixel range; leave out --pixel-range")
        height, width = image_size or (efficientnet_lite0.SIZE,) * 2
        return efficientnet_lite0.specification(Preprocessing(height=height, width=width, **decoding))
    network = open_network(parsed, image_size=image_size, trust_model=trust_model)
    height, width = _settle_size(parsed, network, image_size)
    scale, offset = _settle_range(parsed, network, pixel_range)
    draft = EncoderSpecification(
        name=parsed.name,
        source=handle,
        weights_sha256=network.weights_sha256,
        preprocessing=Preprocessing(height=height, width=width, **decoding),
        scale=scale,
        offset=offset,
        channel_order=network.channel_order,
        dimension=0,
    )
    dimension, pooled = probe(draft, network)
    name = f"{parsed.name}-avg" if pooled else parsed.name
    return dataclasses.replace(draft, dimension=dimension, name=name)


def load_encoder(
    specification: EncoderSpecification,
    *,
    trust_model: bool = False,
    threads: int | None = None,
    beside: str = "",
    device: str = DEVICES[0],
) -> Encoder:
    """Loads an encoder, once in a process; later calls and other threads get the same one.

    Args:
      specification: as resolve_encoder gave it, or as a table keeps it.
      trust_model: loads models that carry code as well.
      threads: threads of one call of ``encode``, heeded if the engine can still be told.
      beside: address of the table or model that the specification belongs to, which keeps its int8 network.
      device: one of DEVICES, for the engine tensorflow.

    Raises:
      EncoderError: an unknown engine, weights that have changed, or a model that does not load.
    """
    key = specification.fingerprint
    with _LOADING:
        if key not in _LOADED:
            if specification.engine not in ENGINES:
                known = ", ".join(sorted(ENGINES))
                raise EncoderError(f"there is no engine {specification.engine!r}, only {known}")
            if specification.engine == "tensorflow":
                settle_device(device)
            if specification.calibration and beside:
                fetch_calibration(specification, beside)
            _LOADED[key] = ENGINES[specification.engine](specification, trust_model, threads)
        return _LOADED[key]


def forget_encoder(specification: EncoderSpecification) -> None:
    """Lets an encoder go that was loaded only to be looked at."""
    with _LOADING:
        _LOADED.pop(specification.fingerprint, None)


def keras_encoder(specification: EncoderSpecification, trust_model: bool = False) -> Any:
    """Builds an encoder with its variables, to be put into an exported SavedModel.

    Returns:
      A tf.Module: called with [B, height, width, 3] RGB images of 0…255 (uint8 or float32), it gives
      float32[B, dimension] through the same graph as load_encoder's, scale and offset included.

    Raises:
      EncoderError: as load_encoder.
    """
    return serving_module(specification, open_again(specification, trust_model))


def _check_arguments(
    image_size: tuple[int, int] | None, pixel_range: tuple[float, float] | None, resize: str | None
) -> None:
    if image_size is not None and not all(MIN_SIDE <= side <= MAX_SIDE for side in image_size):
        text = "x".join(map(str, image_size))
        raise EncoderError(f"--image-size must be between {MIN_SIDE} and {MAX_SIDE} a side, got {text}")
    if pixel_range is not None and not pixel_range[0] < pixel_range[1]:
        raise EncoderError(f"--pixel-range must rise, got {pixel_range[0]:g},{pixel_range[1]:g}")
    if resize is not None and resize not in RESIZES:
        raise EncoderError(f"--resize must be one of {', '.join(RESIZES)}, got {resize}")


def _settle_size(handle: Handle, network: Network, image_size: tuple[int, int] | None) -> tuple[int, int]:
    height, width = image_size or (network.height, network.width)
    if height is None or width is None:
        raise EncoderError(f"{handle.source} takes images of any size; say which with --image-size, such as 224")
    if network.height not in (None, height) or network.width not in (None, width):
        raise EncoderError(
            f"{handle.source} takes images of {network.height or '?'}x{network.width or '?'},"
            f" not the --image-size {height}x{width}"
        )
    return height, width


def _settle_range(
    handle: Handle, network: Network, pixel_range: tuple[float, float] | None
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    fixed = handle.kind is Kind.APPLICATIONS or "float" not in network.dtype
    if pixel_range is not None and not (fixed and affine_range(*pixel_range) != (network.scale, network.offset)):
        return affine_range(*pixel_range)
    if pixel_range is not None:
        raise EncoderError(f"{handle.source} has its own pixel range; leave out --pixel-range")
    if network.scale is None or network.offset is None:
        raise EncoderError(
            f"{handle.source} does not say which pixel values it wants;"
            " say so with --pixel-range=0,1 or =-1,1 or =0,255"
        )
    return network.scale, network.offset

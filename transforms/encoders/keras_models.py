"""``.keras`` files, loaded with Keras' safe mode on."""

from __future__ import annotations

import json
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

from transforms.encoders.digest import file_digest, require_digest
from transforms.encoders.network import Network, affine_range, understand_input
from transforms.encoders.tensorflow_runtime import first_line, import_keras, loading_errors
from transforms.errors import EncoderError

MAX_UNPACKED_BYTES = 16 * 2**30

# Layers that change neither the range of values nor the order of channels, before the first that does.
_TRANSPARENT = ("InputLayer", "Resizing", "CenterCrop", "ZeroPadding2D", "Dropout", "Identity")
# Scale and offset of a Rescaling layer that comes first, and the range that it is made for.
_RESCALINGS = (
    ((1 / 255, 0.0), (0.0, 255.0)),
    ((1 / 256, 0.0), (0.0, 255.0)),
    ((1 / 127.5, -1.0), (0.0, 255.0)),
    ((1 / 127, -1.0), (0.0, 255.0)),
    ((1 / 128, -1.0), (0.0, 255.0)),
    ((2.0, -1.0), (0.0, 1.0)),
    ((255.0, 0.0), (0.0, 1.0)),
    ((127.5, 127.5), (-1.0, 1.0)),
)


def open_keras_file(
    source: str, path: pathlib.Path, *, trust_model: bool = False, expected_sha256: str | None = None
) -> Network:
    """Loads a .keras file.

    Raises:
      EncoderError: another digest, no archive of Keras, code inside it (a lambda, a class of one's own),
        or not one input of images and one output.
    """
    digest = file_digest(path)
    require_digest(source, digest, expected_sha256)
    _check_archive(source, path, trust_model)
    keras = import_keras()
    errors: tuple[type[Exception], ...] = (*loading_errors(), zipfile.BadZipFile)
    try:
        model = keras.saving.load_model(str(path), compile=False, safe_mode=not trust_model)
    except errors as error:
        raise EncoderError(f"{source} does not load: {type(error).__name__}: {first_line(error)}") from error
    inputs, outputs = list(getattr(model, "inputs", None) or ()), list(getattr(model, "outputs", None) or ())
    if len(inputs) != 1 or len(outputs) != 1:
        raise EncoderError(f"{source} has {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
    image = understand_input(source, tuple(inputs[0].shape))
    dtype = str(inputs[0].dtype)
    pixel_range = find_pixel_range(model) if "float" in dtype else (0.0, 255.0)
    scale, offset = affine_range(*pixel_range) if pixel_range else (None, None)
    return Network.of_keras(
        model,
        weights_sha256=digest,
        height=image.height,
        width=image.width,
        dtype=dtype,
        channels_first=image.channels_first,
        scale=scale,
        offset=offset,
    )


def find_pixel_range(model: Any) -> tuple[float, float] | None:
    """The range of values that a Keras model wants, when its first layers say so.

    A Rescaling layer of a usual scale tells, and a Normalization layer whose means can only be those of
    pixels from 0 to 255. Anything else is not guessed: None.
    """
    for layer in flat_layers(model):
        kind = type(layer).__name__
        if kind in _TRANSPARENT or kind.startswith("Random"):
            continue
        if kind == "Rescaling":
            return _rescaling_range(layer.scale, layer.offset)
        if kind == "Normalization":
            means = layer.get_config().get("mean")
            values = layer.mean if means is None else means
            return (0.0, 255.0) if _largest(values) > 2 else None
        return None
    return None


def _rescaling_range(scale: Any, offset: Any) -> tuple[float, float] | None:
    if not isinstance(scale, int | float):
        return (0.0, 255.0) if _largest(scale) <= 1 / 40 else None
    for (known_scale, known_offset), pixel_range in _RESCALINGS:
        if abs(scale / known_scale - 1) < 1e-3 and abs(_largest(offset) - abs(known_offset)) < 0.02:
            return pixel_range
    return None


def _largest(values: Any) -> float:
    import numpy as np

    return float(np.max(np.abs(np.asarray(values, dtype=np.float64)))) if values is not None else 0.0


def flat_layers(model: Any) -> Iterator[Any]:
    """The layers in the order of the flow, those of nested models in their place."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from flat_layers(layer)
        else:
            yield layer


def _check_archive(source: str, path: pathlib.Path, trust_model: bool) -> None:
    """Reads the archive's table and configuration without letting Keras at it."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > MAX_UNPACKED_BYTES:
                raise EncoderError(f"{source} unpacks to {unpacked} bytes, more than {MAX_UNPACKED_BYTES}")
            config = dict(json.loads(archive.read("config.json")))
    except (zipfile.BadZipFile, KeyError, OSError, TypeError, ValueError, RecursionError) as error:
        raise EncoderError(f"{source} is no .keras file: {first_line(error)}") from error
    if trust_model:
        return
    if str(config.get("module", "")).startswith("tf_keras"):
        raise EncoderError(f"{source} is of Keras 2 (tf_keras); export it as a SavedModel and give that")
    for module, name in _named_objects(config):
        builtin = module in ("builtins", None) or module == "keras" or module.startswith("keras.")
        if not builtin or name in (
            "Lambda",
            "TFSMLayer",
            "TorchModuleWrapper",
            "JaxLayer",
            "FlaxLayer",
            "__lambda__",
        ):
            raise EncoderError(
                f"{source} is not loaded: it carries {f'{module}.' if module else ''}{name}, which runs code;"
                " give --trust-model if you trust its author"
            )


def _named_objects(config: Any) -> Iterator[tuple[str | None, str]]:
    """Module and name of every object that a configuration asks Keras to make, at any depth."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str):
                yield value.get("module"), value["class_name"]
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)

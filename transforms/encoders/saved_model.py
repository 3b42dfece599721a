"""SavedModel directories: TF2 modules with ``__call__``, plain signatures and the older TF Hub format."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from transforms.encoders.digest import directory_digest, require_digest
from transforms.encoders.network import ImageInput, Network, affine_range, understand_input
from transforms.encoders.safety import check_files, scan_saved_model
from transforms.encoders.tensorflow_runtime import first_line, import_tensorflow, loading_errors
from transforms.errors import EncoderError

_SIGNATURES = ("serving_default", "default", "image_feature_vector")


def open_saved_model(
    source: str,
    directory: pathlib.Path,
    *,
    trust_model: bool = False,
    expected_sha256: str | None = None,
    pixel_range: tuple[float, float] | None = None,
) -> Network:
    """Loads a SavedModel after a look into it.

    Args:
      source: the handle, for messages.
      directory: where the model lies.
      trust_model: skips the scan of its operators.
      expected_sha256: the digest that its files must have.
      pixel_range: what the place that it comes from says about its input, None when nothing does.

    Raises:
      EncoderError: no SavedModel, another digest, an operator that is not allowed, a model that does not
        load, or no function from one batch of images.
    """
    check_files(directory)
    digest = directory_digest(directory)
    require_digest(source, digest, expected_sha256)
    if not trust_model:
        scan_saved_model(directory)
    tensorflow = import_tensorflow()
    tags: list[str] | None = [] if (directory / "tfhub_module.pb").exists() else None
    try:
        loaded = tensorflow.saved_model.load(str(directory), tags=tags)
        call, spec = _image_function(source, loaded)
    except loading_errors() as error:
        raise EncoderError(f"{source} does not load: {type(error).__name__}: {first_line(error)}") from error
    image: ImageInput = understand_input(source, tuple(spec.shape.as_list()))
    scale = offset = None
    if not spec.dtype.is_floating:
        scale, offset = affine_range(0, 255)
    elif pixel_range is not None:
        scale, offset = affine_range(*pixel_range)
    return Network(
        call=call,
        trackable=loaded,
        variables=tuple(getattr(loaded, "variables", ())),
        weights_sha256=digest,
        height=image.height,
        width=image.width,
        dtype=spec.dtype.name,
        channels_first=image.channels_first,
        scale=scale,
        offset=offset,
    )


def _image_function(source: str, loaded: Any) -> tuple[Callable[[Any], Any], Any]:
    """The function from images to vectors, and the specification of its image argument."""
    for arguments, keywords in _call_signatures(loaded):
        specs = _tensor_specs((arguments, keywords))
        images = [spec for spec in specs if spec.shape.rank in (4, None) and _is_number(spec)]
        others = [spec for spec in specs if spec is not images[0]] if images else specs
        if len(images) == 1 and images[0].shape.rank == 4 and all(_is_flag(spec) for spec in others):
            return _bind(loaded, arguments, keywords), images[0]
    signatures = getattr(loaded, "signatures", {})
    for name in [*(name for name in _SIGNATURES if name in signatures), *sorted(signatures)]:
        function = signatures[name]
        inputs = function.structured_input_signature[1]
        if len(inputs) == 1:
            (key, spec), *_ = inputs.items()
            if spec.shape.rank is not None and _is_number(spec):
                return (lambda images, function=function, key=key: function(**{key: images})), spec
    found = "; ".join(f"{name} takes {_inputs_text(signatures[name])}" for name in sorted(signatures))
    raise EncoderError(
        f"{source} has no function from one batch of images to vectors ({found or 'it has no signatures'})"
    )


def _call_signatures(loaded: Any) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Argument structures of the traces of ``__call__``; those for inference come first."""
    if not callable(loaded):
        return
    traces = [function.structured_input_signature for function in getattr(loaded.__call__, "concrete_functions", ())]
    flatten = import_tensorflow().nest.flatten
    yield from sorted(traces, key=lambda trace: sum(value is True for value in flatten(trace)))


def _bind(loaded: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Callable[[Any], Any]:
    """A function of images alone: flags such as ``training`` keep their traced value, or are False."""
    tensorflow = import_tensorflow()

    def call(images: Any) -> Any:
        def fill(value: Any) -> Any:
            if not isinstance(value, tensorflow.TensorSpec):
                return value
            return tensorflow.constant(False) if _is_flag(value) else images

        filled = tensorflow.nest.map_structure(fill, (arguments, keywords))
        return loaded(*filled[0], **filled[1])

    return call


def _tensor_specs(structure: Any) -> list[Any]:
    tensorflow = import_tensorflow()
    return [leaf for leaf in tensorflow.nest.flatten(structure) if isinstance(leaf, tensorflow.TensorSpec)]


def _is_number(spec: Any) -> bool:
    return bool(spec.dtype.is_floating or spec.dtype.is_integer)


def _is_flag(spec: Any) -> bool:
    return bool(spec.dtype.is_bool and spec.shape.rank == 0)


def _inputs_text(function: Any) -> str:
    inputs = function.structured_input_signature[1]
    return ", ".join(f"{name}: {spec.dtype.name}{spec.shape}" for name, spec in inputs.items()) or "nothing"

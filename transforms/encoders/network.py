"""A network as its source gives it, and what can be learned about it before an image is encoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import first_line, import_tensorflow, loading_errors
from transforms.errors import EncoderError

RGB, BGR = "RGB", "BGR"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A loaded model that maps images to something from which vectors can be had.

    Attributes:
      call: a batch of images in the model's own dtype, layout, channel order and range to its output.
      trackable: holds the variables; attached to whatever is exported. A list of variables, or the
        restored object itself.
      variables: all of them, in a fixed order.
      weights_sha256: digest of the weights.
      height: rows that the model takes, None when it takes any.
      width: columns that the model takes, None when it takes any.
      dtype: of its input: ``float32``, ``float16``, ``uint8`` …
      channels_first: the input is [B, 3, height, width].
      scale: per channel, None when nothing says which range of values the model wants.
      offset: per channel, as scale; the model sees ``pixel * scale + offset``.
      channel_order: RGB or BGR.
      model: the Keras model; None for what is none.
    """

    call: Callable[[Any], Any]
    trackable: Any
    variables: tuple[Any, ...]
    weights_sha256: str
    height: int | None
    width: int | None
    dtype: str = "float32"
    channels_first: bool = False
    scale: tuple[float, float, float] | None = None
    offset: tuple[float, float, float] | None = None
    channel_order: str = RGB
    model: Any = None

    @classmethod
    def of_keras(cls, model: Any, **fields: Any) -> Network:
        """Returns the network that a Keras model is; ``fields`` are the others."""
        values = tuple(variable.value for variable in model.variables)
        return cls(
            call=lambda images: model(images, training=False),
            trackable=list(values),
            variables=values,
            model=model,
            **fields,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageInput:
    """What an input's shape says: size (None where free) and layout."""

    height: int | None
    width: int | None
    channels_first: bool


def affine_range(low: float, high: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Scale and offset that take pixels of 0…255 to low…high."""
    return ((high - low) / 255,) * 3, (float(low),) * 3


def understand_input(source: str, shape: tuple[int | None, ...]) -> ImageInput:
    """Reads a batch's shape.

    Raises:
      EncoderError: not four axes, a fixed batch, or no axis of three channels.
    """
    text = "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
    if len(shape) != 4:
        raise EncoderError(f"{source} takes an input of shape {text}, expected images [?, height, width, 3]")
    if shape[0] is not None:
        raise EncoderError(f"{source} takes batches of exactly {shape[0]}; export it with a free batch dimension")
    if shape[3] in (3, None):
        return ImageInput(height=shape[1], width=shape[2], channels_first=False)
    if shape[1] == 3:
        return ImageInput(height=shape[2], width=shape[3], channels_first=True)
    raise EncoderError(f"{source} takes an input of shape {text}; only images of three channels are encoded")


def choose_output(source: str, output: Any) -> Any:
    """Picks the one tensor out of a model's output: itself, ``default``, or the only one.

    Raises:
      EncoderError: there are several and none is called ``default``.
    """
    if isinstance(output, Mapping):
        if "default" in output:
            return output["default"]
        names, values = [str(name) for name in output], list(output.values())
    elif isinstance(output, list | tuple):
        names, values = [str(position) for position in range(len(output))], list(output)
    else:
        return output
    if len(values) == 1:
        return choose_output(source, values[0])
    names.sort()
    raise EncoderError(f"{source} has the outputs {', '.join(names)}; export it with the embedding as the only one")


def model_input(pixels: Any, specification: EncoderSpecification, network: Network) -> Any:
    """Pixels [B, height, width, 3] of 0…255, any dtype, RGB, as the network wants to see them.

    Channels are put into the network's order first, then ``pixel * scale + offset`` is taken.
    """
    tensorflow = import_tensorflow()
    images = tensorflow.cast(pixels, tensorflow.float32)
    if specification.channel_order == BGR:
        images = images[..., ::-1]
    images = images * tensorflow.constant(specification.scale, tensorflow.float32)
    images = images + tensorflow.constant(specification.offset, tensorflow.float32)
    if network.channels_first:
        images = tensorflow.transpose(images, (0, 3, 1, 2))
    return tensorflow.cast(images, network.dtype)


def model_vectors(output: Any, source: str, channels_first: bool = False) -> Any:
    """A model's output as float32[B, D].

    Feature maps [B, height, width, D] are averaged over their positions, as classifiers do.

    Raises:
      EncoderError: other shapes, or values that are not floating-point.
    """
    tensorflow = import_tensorflow()
    tensor = choose_output(source, output)
    if not tensorflow.is_tensor(tensor):
        raise EncoderError(f"{source} gives a {type(tensor).__name__}, expected a tensor [B, D]")
    if not tensor.dtype.is_floating:
        raise EncoderError(f"{source} gives {tensor.dtype.name} values; an embedding must be floating-point")
    tensor = tensorflow.cast(tensor, tensorflow.float32)
    if tensor.shape.rank == 4 and not channels_first:
        return tensorflow.reduce_mean(tensor, axis=(1, 2))
    if tensor.shape.rank not in (2, None):
        raise EncoderError(f"{source} gives tensors of {tensor.shape.rank} axes; export it with an output [B, D]")
    return tensor


def encode_images(pixels: Any, specification: EncoderSpecification, network: Network) -> Any:
    """Pixels [B, height, width, 3] of 0…255, any dtype, RGB, to float32[B, D]: one graph for every use."""
    output = network.call(model_input(pixels, specification, network))
    return model_vectors(output, specification.source, network.channels_first)


def probe(specification: EncoderSpecification, network: Network) -> tuple[int, bool]:
    """Runs two black images through a network.

    Returns:
      The dimension D, and whether feature maps were averaged to get there.

    Raises:
      EncoderError: the model fails, or does not give one vector an image.
    """
    tensorflow = import_tensorflow()
    size = specification.preprocessing
    source = specification.source
    try:
        pixels = tensorflow.zeros((2, size.height, size.width, 3), tensorflow.uint8)
        output = network.call(model_input(pixels, specification, network))
        vectors = model_vectors(output, source, network.channels_first).numpy()
        pooled = len(choose_output(source, output).shape) == 4
    except loading_errors() as error:
        raise EncoderError(f"{source} fails on images of {size.height}x{size.width}: {first_line(error)}") from error
    if vectors.ndim != 2 or vectors.shape[0] != 2 or vectors.shape[1] < 1:
        raise EncoderError(f"{source} gives shape {list(vectors.shape)} for 2 images, expected [2, D]")
    return int(vectors.shape[1]), pooled

"""Networks that can be trained on pixels: a CNN from scratch, and the encoders of other models."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipelines.training.cnn_settings import CnnSettings
from transforms.encoders import efficientnet_lite0
from transforms.encoders.golden import golden_images
from transforms.encoders.handle import Kind, parse_handle
from transforms.encoders.keras_models import flat_layers
from transforms.encoders.network import BGR, Network, encode_images
from transforms.encoders.networks import open_again
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import first_line, import_keras, import_tensorflow, loading_errors
from transforms.errors import EncoderError

ENCODER = "encoder"
"""Where a model directory keeps an encoder of its own: ``encoder.keras``, or ``encoder/`` for a SavedModel."""

_METADATA, _CONFIG = "metadata.json", "config.json"  # of an archive of Keras
_SHARED = re.compile(rb'("shared_object_id": )(\d+)')

# What the layers of one block have in common in the names of keras.applications, TF Hub and the default encoder.
_BLOCK = re.compile(r"^.*?(block_?\d+[a-z]?|expanded_conv_\d+|mixed_?\d+[a-z]?)(?![a-z0-9])")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainableEncoder:
    """An encoder whose weights can be changed.

    Attributes:
      call: ``uint8[B, height, width, 3]`` and whether it is a training step, to ``float32[B, D]``.
      blocks: its trainable variables, a tuple a block, those next to the pixels first.
      state: all variables, those included that count random numbers.
      dimension: D.
      save: writes it below a directory as ENCODER; returns the path, a handle for ``--encoder``.
      model: the Keras model; None for a SavedModel.
    """

    call: Callable[[Any, bool], Any]
    blocks: tuple[tuple[Any, ...], ...]
    state: tuple[Any, ...]
    dimension: int
    save: Callable[[str], str]
    model: Any = None

    def top(self, blocks: int | None) -> list[Any]:
        """Returns the variables of the last ``blocks`` blocks, None for all.

        Raises:
          EncoderError: there are not so many.
        """
        if blocks is not None and blocks > len(self.blocks):
            raise EncoderError(
                f"--unfreeze {blocks} is more than the {len(self.blocks)} blocks of the encoder; say all"
            )
        chosen = self.blocks if blocks is None else self.blocks[len(self.blocks) - blocks :]
        return [variable for block in chosen for variable in block]


def build_cnn(height: int, width: int, settings: CnnSettings, dropout_rate: float, seed: int) -> TrainableEncoder:
    """Builds a network of modules of convolution, ReLU and 2×2 pooling, then dense layers with ReLU.

    Raises:
      OptionError: the images are too small for so many modules.
    """
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input((height, width, 3), dtype="uint8", name="images")
    images = layers.Rescaling(1 / 127.5, -1.0, name="rescale")(inputs)

    def start(place: int) -> Any:
        return keras.initializers.HeNormal(seed=seed + place)

    for place, filters in enumerate(settings.modules(height, width), start=1):
        convolution = layers.Conv2D(
            filters, settings.kernel_size, padding="same", kernel_initializer=start(place), name=f"block{place}_conv"
        )
        images = layers.ReLU(name=f"block{place}_relu")(convolution(images))
        images = layers.MaxPooling2D(name=f"block{place}_pool")(images)
    vectors = layers.Flatten(name="flatten")(images)
    for place, units in enumerate(settings.hidden_units, start=1):
        vectors = layers.Dropout(dropout_rate, seed=seed + place, name=f"dropout{place}")(vectors)
        dense = layers.Dense(units, activation="relu", kernel_initializer=start(100 + place), name=f"dense{place}")
        vectors = dense(vectors)
    return _keras_encoder(keras.Model(inputs, vectors, name="cnn"))


def open_trainable(specification: EncoderSpecification, trust_model: bool = False) -> TrainableEncoder:
    """Loads an encoder so that it can be trained; batch normalisation keeps its statistics, factors and offsets.

    Raises:
      EncoderError: it cannot be loaded, or not be trained, and why.
    """
    size = specification.preprocessing
    if parse_handle(specification.source).kind is Kind.DEFAULT:
        model = efficientnet_lite0.build_model(
            efficientnet_lite0.read_weights(), height=size.height, width=size.width, folded=False
        )
        return _keras_encoder(_from_pixels(model, specification, "float32"))
    network = open_again(specification, trust_model)
    if network.model is None:
        encoder = _saved_model_encoder(specification, network)
    elif network.channels_first:
        raise EncoderError(f"{specification.source} cannot be fine-tuned: it takes channels first, which no CPU trains")
    else:
        encoder = _keras_encoder(_from_pixels(network.model, specification, network.dtype))
    _check_gradients(encoder, specification)
    return encoder


def _from_pixels(model: Any, specification: EncoderSpecification, dtype: str) -> Any:
    """Puts order of channels, scale and offset before a Keras model, and pooling behind it where it is missing."""
    keras = import_keras()
    if dtype == "uint8" and len(model.outputs[0].shape) == 2:
        return model  # it has them inside
    size = specification.preprocessing
    inputs = keras.Input((size.height, size.width, 3), dtype="uint8", name="images")
    images = keras.ops.flip(inputs, axis=-1) if specification.channel_order == BGR else inputs
    if "float" in dtype:
        scale, offset = list(specification.scale), list(specification.offset)
        images = keras.layers.Rescaling(scale, offset, name="rescale")(images)
    elif dtype != "uint8":
        raise EncoderError(
            f"{specification.source} cannot be fine-tuned: it takes {dtype} images, not float32 or uint8"
        )
    outputs = model(images)
    if len(outputs.shape) == 4:
        outputs = keras.layers.GlobalAveragePooling2D(name="pooled")(outputs)
    return keras.Model(inputs, outputs, name="encoder")


def _keras_encoder(model: Any) -> TrainableEncoder:
    keras = import_keras()
    layers = [layer for layer in flat_layers(model) if layer.weights]
    for layer in layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    trained = [layer for layer in layers if layer.trainable_variables]
    variables = [(layer.name, variable.value) for layer in trained for variable in layer.trainable_variables]

    def save(directory: str) -> str:
        path = os.path.join(directory, f"{ENCODER}.keras")
        model.save(path)
        _make_reproducible(path)
        return path

    return TrainableEncoder(
        call=lambda images, training: model(images, training=training),
        blocks=group_blocks(variables),
        state=tuple(variable.value for variable in model.variables),
        dimension=int(model.outputs[0].shape[-1]),
        save=save,
        model=model,
    )


def _make_reproducible(path: str) -> None:
    """Writes an archive of Keras again without date and addresses in memory, so that equal weights have one file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    fields = json.loads(members[_METADATA])
    fields.pop("date_saved", None)
    members[_METADATA] = json.dumps(fields, sort_keys=True).encode()
    numbers: dict[bytes, int] = {}  # Keras names an object that several layers share by its place in memory
    members[_CONFIG] = _SHARED.sub(
        lambda found: found[1] + str(numbers.setdefault(found[2], len(numbers))).encode(), members[_CONFIG]
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def _saved_model_encoder(specification: EncoderSpecification, network: Network) -> TrainableEncoder:
    """Trains through the function for inference, in which batch normalisation and dropout stand still."""
    trainable = list(getattr(network.trackable, "trainable_variables", None) or ())
    if not trainable:
        raise EncoderError(
            f"{specification.source} cannot be fine-tuned: the SavedModel exports no trainable variables (but "
            "constants, or those of a plain tf.Module); export it with `trainable_variables`, or use a .keras file"
        )
    names = {variable.name for variable in network.variables}
    normalised = {name.rsplit("/", 1)[0] for name in names if "moving_mean" in name}
    chosen = [(variable.name, variable) for variable in trainable if variable.name.rsplit("/", 1)[0] not in normalised]

    def call(images: Any, _training: bool) -> Any:
        return encode_images(images, specification, network)

    return TrainableEncoder(
        call=call,
        blocks=group_blocks([(_layer_name(name), variable) for name, variable in chosen]),
        state=tuple(trainable),
        dimension=specification.dimension,
        save=lambda directory: _save_module(call, specification, network, trainable, directory),
    )


def _layer_name(variable: str) -> str:
    return variable.rsplit("/", 1)[0] if "/" in variable else variable


def _save_module(
    call: Callable[[Any, bool], Any],
    specification: EncoderSpecification,
    network: Network,
    trainable: Sequence[Any],
    directory: str,
) -> str:
    """Exports as TF Hub wants it: ``__call__`` for both values of ``training``, and the lists of variables."""
    tf = import_tensorflow()
    size = specification.preprocessing
    module = tf.train.Checkpoint(network=network.trackable)
    function = tf.function(lambda images, training=False: call(images, training), autograph=False)
    images = tf.TensorSpec([None, size.height, size.width, 3], tf.uint8, name="images")
    for training in (False, True):
        function.get_concrete_function(images, training=training)
    module.__call__ = function
    module.variables = list(network.variables)
    module.trainable_variables = list(trainable)
    module.regularization_losses = []
    path = os.path.join(directory, ENCODER)
    tf.saved_model.save(module, path)
    return path


def group_blocks(variables: Sequence[tuple[str, Any]]) -> tuple[tuple[Any, ...], ...]:
    """Groups variables into blocks, by the names of their layers; a layer outside of any block is one of its own."""
    blocks: list[tuple[str, list[Any]]] = []
    for name, variable in variables:
        found = _BLOCK.match(name)
        key = found.group(0) if found else name
        if not blocks or blocks[-1][0] != key:
            blocks.append((key, []))
        blocks[-1][1].append(variable)
    return tuple(tuple(block) for _, block in blocks)


def _check_gradients(encoder: TrainableEncoder, specification: EncoderSpecification) -> None:
    """Refuses a network through which nothing can be learned.

    Raises:
      EncoderError: no variable changes the vectors in a way that can be followed.
    """
    tf = import_tensorflow()
    variables = encoder.top(None)
    try:
        with tf.GradientTape() as tape:
            vectors = encoder.call(tf.constant(golden_images(specification)[-1:]), False)
            total = tf.reduce_sum(vectors)
        gradients = tape.gradient(total, variables)
    except loading_errors() as error:
        raise EncoderError(f"{specification.source} cannot be fine-tuned: {first_line(error)}") from error
    if not any(gradient is not None and np.isfinite(tf.norm(gradient).numpy()) for gradient in gradients):
        raise EncoderError(f"{specification.source} cannot be fine-tuned: no gradient reaches its variables")

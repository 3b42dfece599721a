"""What a network sees: filters of its first layer, feature maps and class-activation heat maps, as pixels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.training.classifier import Classifier
from transforms.encoders.tensorflow_runtime import import_keras, import_tensorflow

Picture = npt.NDArray[np.uint8]

_TILE = 72  # sides of a filter or map on a sheet, in pixels
_COLUMNS = 8
_MAPS = 16  # of a layer
_GAP = 4
_HEAT = 0.5  # how much of a picture the heat covers, where it is greatest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What the network saw in one image.

    Attributes:
      heat: ``uint8[height, width, 3]``, the image under the heat map of the predicted class.
      predicted: index of that class.
      maps: a sheet of feature maps a layer, by its name.
    """

    heat: Picture
    predicted: int
    maps: dict[str, Picture]


class Looker:
    """Looks into a classifier whose encoder is a Keras model.

    Args:
      classifier: trained.
    """

    def __init__(self, classifier: Classifier) -> None:
        keras = import_keras()
        self._classifier = classifier
        outer = classifier.encoder.model
        nested = [place for place, layer in enumerate(outer.layers) if isinstance(layer, keras.Model)]
        inner = outer.layers[nested[0]] if nested else outer
        before = outer.layers[nested[0] - 1].output if nested else outer.inputs[0]
        self._before = keras.Model(outer.inputs, before)
        self._layers = [layer for layer in inner.layers if len(getattr(layer.output, "shape", ())) == 4]
        self._convolutions = [layer for layer in self._layers if type(layer).__name__.endswith("Conv2D")]
        self._shown = [layer for layer in self._layers if type(layer).__name__ in ("ReLU", "Activation", "Conv2D")]
        self._last = self._layers[-1] if self._convolutions else None
        outputs = [layer.output for layer in (*self.chosen, *([self._last] if self._last else []))]
        self._inner = keras.Model(inner.inputs, [*outputs, inner.output])

    @property
    def chosen(self) -> list[Any]:
        """The layers whose maps are shown: one at the beginning, in the middle and at the end."""
        places = {0, len(self._shown) // 2, len(self._shown) - 1} if self._shown else set()
        return [self._shown[place] for place in sorted(places)]

    def filters(self) -> Picture | None:
        """Returns a sheet of the first convolution's filters, None when they do not act on three channels."""
        if not self._convolutions or self._convolutions[0].kernel.shape[2] != 3:
            return None
        kernel = np.asarray(self._convolutions[0].kernel)
        return sheet([_stretch(kernel[..., place]) for place in range(kernel.shape[-1])])

    def look(self, pixels: Picture) -> Seen | None:
        """Returns what is seen in one image ``uint8[height, width, 3]``; None for a network without convolutions.

        The heat map is Grad-CAM: the last maps, weighted by their mean influence on the predicted class's logit (R.
        Selvaraju et al., Grad-CAM, ICCV 2017).
        """
        if self._last is None:
            return None
        tf = import_tensorflow()
        with tf.GradientTape() as tape:
            *maps, features = self._inner(self._before(tf.constant(pixels[None])), training=False)
            last = maps.pop()
            vectors = tf.reduce_mean(features, (1, 2)) if len(features.shape) == 4 else features
            logits = self._classifier.classify(vectors)
            best = tf.reduce_max(logits, axis=1)
        gradient = tape.gradient(best, last)
        predicted = int(tf.argmax(logits, axis=1)[0])
        heat = np.zeros(last.shape[1:3], np.float32)
        if gradient is not None:
            heat = np.maximum((last * tf.reduce_mean(gradient, (1, 2), keepdims=True)).numpy()[0].sum(axis=-1), 0)
        shown = {layer.name: _maps(values.numpy()[0]) for layer, values in zip(self.chosen, maps, strict=True)}
        return Seen(heat=overlay(pixels, heat), predicted=predicted, maps=shown)


def sheet(tiles: list[Picture], columns: int = _COLUMNS) -> Picture:
    """Lays pictures out in rows, on white, each enlarged to the side of a tile without smoothing.

    Args:
      tiles: ``uint8[h, w]`` or ``uint8[h, w, 3]``; one at least.
      columns: tiles a row, at most.
    """
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    step = _TILE + _GAP
    page = Image.new("RGB", (columns * step + _GAP, rows * step + _GAP), "white")
    for place, tile in enumerate(tiles):
        picture = Image.fromarray(tile).convert("RGB").resize((_TILE, _TILE), Image.Resampling.NEAREST)
        page.paste(picture, (_GAP + place % columns * step, _GAP + place // columns * step))
    return np.asarray(page)


def _maps(values: npt.NDArray[np.float32]) -> Picture:
    """The strongest maps of ``float32[h, w, C]``, black where nothing was found."""
    strongest = np.argsort(-np.abs(values).mean(axis=(0, 1)), kind="stable")[:_MAPS]
    return sheet([_stretch(values[..., place]) for place in strongest])


def _stretch(values: npt.NDArray[np.float32]) -> Picture:
    low, high = float(values.min()), float(values.max())
    return ((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def overlay(pixels: Picture, heat: npt.NDArray[np.float32]) -> Picture:
    """The picture in grey, with red where the heat is."""
    height, width = pixels.shape[:2]
    grown = np.asarray(Image.fromarray(_stretch(heat)).resize((width, height), Image.Resampling.BILINEAR))
    share = grown[..., None].astype(np.float32) / 255 * _HEAT
    grey = np.repeat(pixels.mean(axis=-1, keepdims=True), 3, axis=-1)
    return (grey * (1 - share) + np.array([255.0, 60.0, 0.0]) * share).astype(np.uint8)

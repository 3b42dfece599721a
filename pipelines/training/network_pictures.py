"""What a network sees: filters of its first layer, feature maps and class-activation heat maps, as pixels."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.training.classifier import Classifier
from transforms.encoders.keras_models import flat_layers
from transforms.encoders.tensorflow_runtime import import_tensorflow
from transforms.errors import OptionError

Picture = npt.NDArray[np.uint8]

_TILE = 72  # sides of a filter or map on a sheet, in pixels
_COLUMNS = 8
_MAPS = 16  # of a layer
_GAP = 4
_SIDE = 224  # that a small image is enlarged to, about
_HEAT = 0.5  # how much of a picture the heat covers, where it is greatest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What the network saw in one image.

    Attributes:
      heat: ``uint8[height, 2 * width, 3]``, the image, enlarged when it is small, and again under the heat map of the
        most likely label.
      vector: ``float32[D]``, the encoder's.
      predicted: index of that label.
      maps: a sheet of feature maps a layer, by its name.
    """

    heat: Picture
    vector: npt.NDArray[np.float32]
    predicted: int
    maps: dict[str, Picture]


class Looker:
    """Looks into a classifier whose encoder is a Keras model, of layers and models in any nesting.

    Args:
      classifier: trained.
      shape: of the images that it takes: height, width and 3.

    Attributes:
      shapes: height, width and number of the maps of each layer that has some, by its name, in the order of the flow.
      usual: of these layers those at the beginning, in the middle and at the end that convolve or activate.
    """

    def __init__(self, classifier: Classifier, shape: tuple[int, ...]) -> None:
        self._classifier = classifier
        self._layers = list(flat_layers(classifier.encoder.model))
        _, found = self._run(np.zeros(shape, np.uint8), None)
        self.shapes: dict[str, tuple[int, int, int]] = {
            name: tuple(maps.shape[1:]) for name, maps in found.items() if len(maps.shape) == 4
        }
        shown = [name for name in self.shapes if self.kind(name) in ("ReLU", "Activation", "Conv2D")]
        self.usual = list(dict.fromkeys([shown[0], shown[len(shown) // 2], shown[-1]] if shown else ()))

    def kind(self, name: str) -> str:
        """Returns what kind of layer it is, such as ``Conv2D``."""
        return next(type(layer).__name__ for layer in self._layers if layer.name == name)

    def choose(self, names: Sequence[str]) -> list[str]:
        """Returns the names; the usual ones when there are none.

        Raises:
          OptionError: no layer of the name has maps.
        """
        for name in names:
            if name not in self.shapes:
                close = difflib.get_close_matches(name, self.shapes, 3, 0.4)
                remedy = f"perhaps {', '.join(close)}? " if close else ""
                raise OptionError(
                    f"no layer {name!r} has feature maps; {remedy}`heliograph models pictures MODEL` lists all"
                )
        return list(names) or self.usual

    def filters(self) -> Picture | None:
        """Returns a sheet of the first convolution's filters in RGB, None when they do not act on three channels."""
        convolutions = [layer for layer in self._layers if type(layer).__name__.endswith("Conv2D")]
        kernel = getattr(convolutions[0], "kernel", None) if convolutions else None
        if kernel is None or kernel.shape[2] != 3:
            return None
        steps = getattr(self._classifier.encoder.model, "operations", ())  # a Sequential has layers only
        flipped = any(type(step).__name__ == "Flip" and step.axis == -1 for step in steps)  # it takes BGR
        kernel = np.asarray(kernel)[:, :, :: -1 if flipped else 1]
        return sheet([_stretch(kernel[..., place]) for place in range(kernel.shape[-1])])

    def look(self, pixels: Picture, layers: Sequence[str]) -> Seen | None:
        """Returns what is seen in one image ``uint8[height, width, 3]``; None for a network without feature maps.

        The heat map is Grad-CAM: the last maps, weighted by their mean influence on the most likely label's logit (R.
        Selvaraju et al., Grad-CAM, ICCV 2017).
        """
        wide = [name for name, (height, width, _) in self.shapes.items() if height * width > 1]
        if not wide:
            return None
        tf = import_tensorflow()
        with tf.GradientTape() as tape:
            vectors, found = self._run(pixels, tape)
            logits = self._classifier.classify(vectors)
            best = tf.reduce_max(logits, axis=1)
        last = found[wide[-1]]
        gradient = tape.gradient(best, last)
        heat = np.zeros(last.shape[1:3], np.float32)
        if gradient is not None:
            heat = np.maximum((last * tf.reduce_mean(gradient, (1, 2), keepdims=True)).numpy()[0].sum(axis=-1), 0)
        large = _enlarge(pixels)
        return Seen(
            heat=np.concatenate([large, overlay(large, heat)], axis=1),
            vector=vectors.numpy()[0],
            predicted=int(tf.argmax(logits, axis=1)[0]),
            maps={name: _maps(found[name].numpy()[0]) for name in layers},
        )

    def _run(self, pixels: npt.NDArray[np.uint8], tape: Any) -> tuple[Any, dict[str, Any]]:
        """Returns the vector of an image, and what each layer gave on the way, by its name; ``tape`` watches that."""
        found: dict[str, Any] = {}

        def keep(layer: Any, call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
            outputs = call(*arguments, **more)
            if hasattr(outputs, "shape"):
                found.setdefault(layer.name, outputs)
                if tape is not None and outputs.dtype.is_floating:
                    tape.watch(outputs)
            return outputs

        for layer in self._layers:
            layer.call = functools.partial(keep, layer, layer.call)
        try:
            vectors = self._classifier.encoder.call(import_tensorflow().constant(pixels[None]), False)
        finally:
            for layer in self._layers:
                del layer.call  # that of its class counts again
        return vectors, found


def sheet(tiles: list[Picture], columns: int = _COLUMNS) -> Picture:
    """Lays pictures out in rows, on white, each resized to the side of a tile; what is enlarged is not smoothed.

    Args:
      tiles: ``uint8[h, w]`` or ``uint8[h, w, 3]``; one at least.
      columns: tiles a row, at most.
    """
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    step = _TILE + _GAP
    page = Image.new("RGB", (columns * step + _GAP, rows * step + _GAP), "white")
    for place, tile in enumerate(tiles):
        method = Image.Resampling.BOX if min(tile.shape[:2]) > _TILE else Image.Resampling.NEAREST
        picture = Image.fromarray(tile).convert("RGB").resize((_TILE, _TILE), method)
        page.paste(picture, (_GAP + place % columns * step, _GAP + place // columns * step))
    return np.asarray(page)


def _maps(values: npt.NDArray[np.float32]) -> Picture:
    """The strongest maps of ``float32[h, w, C]``, black where nothing was found."""
    strongest = np.argsort(-np.abs(values).mean(axis=(0, 1)), kind="stable")[:_MAPS]
    return sheet([_stretch(values[..., place]) for place in strongest])


def _enlarge(pixels: Picture) -> Picture:
    factor = max(1, _SIDE // max(pixels.shape[:2]))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


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

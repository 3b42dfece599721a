"""What lies beside a network for people: TensorBoard's event files, and pictures of what the network sees."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from pipelines.report.sections.network import FILTERS, HEAT, MAPS, Shown
from pipelines.training.classifier import Classifier
from pipelines.training.features import Examples
from pipelines.training.fit_network import Epoch
from pipelines.training.network_pictures import Looker, Picture
from pipelines.training.pixels import Pixels, rows_of
from transforms.encoders.tensorflow_runtime import import_tensorflow
from transforms.model.head import Head

EVENTS, PICTURES = "events", "pictures"

_EXAMPLES = 8  # images with a heat map


def write_pictures(pictures: Sequence[Shown], directory: str) -> None:
    """Writes each as a PNG file."""
    os.makedirs(directory, exist_ok=True)
    for one in pictures:
        with open(os.path.join(directory, one.file), "wb") as stream:
            stream.write(one.png())


def write_events(history: Sequence[Epoch], directory: str) -> None:
    """Writes the curves as TensorBoard's event files, one directory for training and one for validation."""
    tf = import_tensorflow()
    plain = tf.compat.v1.SummaryMetadata()  # tf.summary.scalar wants TensorBoard installed; to write needs none
    plain.plugin_data.plugin_name = "scalars"
    for split, prefix in (("train", ""), ("validation", "validation_")):
        writer = tf.summary.create_file_writer(os.path.join(directory, split))
        with writer.as_default():
            for epoch in history:
                scalars = {f"epoch_{name}": getattr(epoch, prefix + name) for name in ("loss", "accuracy")}
                scalars |= {} if prefix else {"learning_rate": epoch.learning_rate}
                for tag, value in scalars.items():
                    if np.isfinite(value):
                        tf.summary.write(tag, tf.constant(value, tf.float32), step=epoch.epoch, metadata=plain)
        writer.close()


def draw_examples(classifier: Classifier, head: Head, pixels: Pixels, validation: Examples) -> list[Shown]:
    """Draws the first validation image of each class, some at most; nothing of a SavedModel, whose layers nobody sees.

    Args:
      classifier: trained.
      head: of it, calibrated.
      pixels: of all images.
      validation: vectors are numbers of rows of the pixels; targets are classes of the classifier.
    """
    if classifier.encoder.model is None:
        return []
    images = []
    for place in _one_a_class(validation):
        wanted = validation.targets[place]
        names = [head.labels[at] for at in (np.flatnonzero(wanted) if validation.several else [int(wanted)])]
        images.append((", ".join(names), pixels.array[rows_of(validation)[place]]))
    looker = Looker(classifier, pixels.array.shape[1:])
    return draw_pictures(looker, head, images, looker.usual, 1)


def draw_pictures(
    looker: Looker, head: Head, images: Sequence[tuple[str, Picture]], layers: Sequence[str], mapped: int
) -> list[Shown]:
    """Draws the filters of the first layer, and heat maps and feature maps of images.

    Args:
      looker: into a classifier.
      head: of it, calibrated.
      images: what each is known as, and its pixels, ``uint8[height, width, 3]``.
      layers: whose feature maps are drawn.
      mapped: how many of the images, the first ones, get feature maps.
    """
    filters = looker.filters()
    shown = (
        []
        if filters is None
        else [Shown(name=FILTERS, text="A tile is a filter; its three channels are shown as colours", picture=filters)]
    )
    for place, (name, pixels) in enumerate(images):
        seen = looker.look(pixels, layers if place < mapped else ())
        if seen is None:
            break
        confidence = head.probabilities(seen.vector[None])[0, seen.predicted]
        said = f"{name}: most likely {head.labels[seen.predicted]} ({confidence:.2f})"
        shown.append(Shown(name=f"{HEAT}_{place}", text=said, picture=seen.heat))
        for layer, picture in seen.maps.items():
            shown.append(Shown(name=f"{MAPS}_{place}_{layer}", text=f"{name}: maps of {layer}", picture=picture))
    return shown


def _one_a_class(examples: Examples) -> list[int]:
    """Positions of the first image of each class, some at most."""
    targets = examples.targets.argmax(axis=1) if examples.several else examples.targets
    return sorted(int(np.flatnonzero(targets == target)[0]) for target in np.unique(targets)[:_EXAMPLES])

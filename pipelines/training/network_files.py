"""What lies beside a network for people: TensorBoard's event files, and pictures of what the network sees."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from pipelines.report.sections.network import FILTERS, HEAT, MAPS, Shown
from pipelines.training.classifier import Classifier
from pipelines.training.features import Examples
from pipelines.training.fit_network import Epoch
from pipelines.training.network_pictures import Looker
from pipelines.training.pixels import Pixels, rows_of
from transforms.encoders.tensorflow_runtime import import_tensorflow

EVENTS, PICTURES = "events", "pictures"

_EXAMPLES = 8  # images with a heat map


def write_pictures(pictures: Sequence[Shown], directory: str) -> None:
    """Writes each as a PNG file."""
    os.makedirs(directory, exist_ok=True)
    for one in pictures:
        with open(os.path.join(directory, f"{one.name}.png"), "wb") as stream:
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


def draw_pictures(classifier: Classifier, pixels: Pixels, validation: Examples) -> list[Shown]:
    """Draws heat maps, filters and feature maps; nothing of a SavedModel, whose layers cannot be told.

    Args:
      classifier: trained.
      pixels: of all images.
      validation: vectors are numbers of rows of the pixels; targets are classes of the classifier.
    """
    if classifier.encoder.model is None:
        return []
    looker = Looker(classifier)
    filters = looker.filters()
    shown = (
        []
        if filters is None
        else [Shown(name=FILTERS, text="A tile is a filter; its three channels are shown as colours", picture=filters)]
    )
    labels = classifier.start.labels
    rows = rows_of(validation)
    for place, chosen in enumerate(_one_a_class(validation)):
        seen = looker.look(pixels.array[rows[chosen]])
        if seen is None:
            break
        wanted = validation.targets[chosen]
        names = [labels[at] for at in (np.flatnonzero(wanted) if validation.several else [int(wanted)])]
        said = f"{', '.join(names)}, taken for {labels[seen.predicted]}"
        both = np.concatenate([pixels.array[rows[chosen]], seen.heat], axis=1)
        shown.append(Shown(name=f"{HEAT}_{place}", text=said, picture=both))
        if not place:
            maps = seen.maps.items()
            shown += [Shown(name=f"{MAPS}_{name}", text=f"Maps of {name}", picture=picture) for name, picture in maps]
    return shown


def _one_a_class(examples: Examples) -> list[int]:
    """Positions of the first image of each class, some at most."""
    targets = examples.targets.argmax(axis=1) if examples.several else examples.targets
    return sorted(int(np.flatnonzero(targets == target)[0]) for target in np.unique(targets)[:_EXAMPLES])

"""How a training went, for people: curves, TensorBoard's event files, and pictures of what the network sees."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipelines.report.assets import data_address, render_plain
from pipelines.training.classifier import Classifier
from pipelines.training.features import Examples
from pipelines.training.fit_network import Epoch, rows_of
from pipelines.training.network_pictures import Looker, Picture
from pipelines.training.pixels import Pixels
from transforms.encoders.tensorflow_runtime import import_tensorflow

PAGE, EVENTS, PICTURES = "training.html", "events", "pictures"

_EXAMPLES = 8  # images with a heat map
_WIDTH, _HEIGHT, _EDGE = 440, 240, 40
_COLOURS = {"training": "#8a5a00", "validation": "#1f5fa8"}


def write_training_report(
    classifier: Classifier, pixels: Pixels, validation: Examples, history: Sequence[Epoch], directory: str
) -> dict[str, str]:
    """Writes page, pictures and event files.

    Args:
      classifier: trained.
      pixels: of all images.
      validation: vectors are numbers of rows of the pixels; targets are classes of the classifier.
      history: of the training.
      directory: to write into.

    Returns:
      What belongs into the model's directory: path by name.
    """
    write_events(history, os.path.join(directory, EVENTS))
    figures = [
        ("Loss", "cross-entropy in nats", curves_svg("Loss", [(e.epoch, e.loss, e.validation_loss) for e in history])),
        (
            "Accuracy",
            "training as the network was during the epoch, on augmented images and with dropout",
            curves_svg("Accuracy", [(e.epoch, e.accuracy, e.validation_accuracy) for e in history]),
        ),
    ]
    pictures = [] if classifier.encoder.model is None else _pictures(classifier, pixels, validation)
    os.makedirs(os.path.join(directory, PICTURES), exist_ok=True)
    for name, _, picture in pictures:
        Image.fromarray(picture).save(os.path.join(directory, PICTURES, f"{name}.png"))
    with open(os.path.join(directory, PAGE), "w", encoding="utf-8", errors="replace") as stream:
        stream.write(_page(figures, pictures))
    names = [PAGE, EVENTS, *([PICTURES] if pictures else [])]
    return {name: os.path.join(directory, name) for name in names}


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


def curves_svg(title: str, points: Sequence[tuple[int, float, float]]) -> str:
    """Returns the curves of (epoch, training, validation); values that are not finite are left out."""
    values = [value for _, *pair in points for value in pair if np.isfinite(value)]
    low, high = min(values), max(values)
    last = max(points[-1][0], 1)

    def place(epoch: int, value: float) -> str:
        x = _EDGE + epoch / last * (_WIDTH - 2 * _EDGE)
        y = _HEIGHT - _EDGE - (value - low) / max(high - low, 1e-9) * (_HEIGHT - 2 * _EDGE)
        return f"{x:.1f},{y:.1f}"

    parts = []
    for column, (name, colour) in enumerate(_COLOURS.items(), start=1):
        line = " ".join(place(int(point[0]), point[column]) for point in points if np.isfinite(point[column]))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{_EDGE + 110 * (column - 1)}" y="20" fill="{colour}">{name}</text>')
    for value in (low, high):
        y = place(0, value).split(",")[1]
        parts.append(f'<text x="{_EDGE - 4}" y="{y}" text-anchor="end" dominant-baseline="middle">{value:.2f}</text>')
    parts.append(f'<text x="{_WIDTH - _EDGE}" y="{_HEIGHT - 12}" text-anchor="end">epoch {last}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" font-family="sans-serif" font-size="12"><title>{title} of training and '
        f'validation by epoch</title><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
    )


def _pictures(classifier: Classifier, pixels: Pixels, validation: Examples) -> list[tuple[str, str, Picture]]:
    """Name, what it shows, and the picture itself."""
    looker = Looker(classifier)
    filters = looker.filters()
    found = [] if filters is None else [("filters", "The filters of the first convolution", filters)]
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
        found.append((f"heat_{place}", f"What spoke for the class (Grad-CAM): {said}", both))
        if not place:
            found += [(f"maps_{name}", f"Maps of {name} for that image", maps) for name, maps in seen.maps.items()]
    return found


def _one_a_class(examples: Examples) -> list[int]:
    """Positions of the first image of each class, some at most."""
    targets = examples.targets.argmax(axis=1) if examples.several else examples.targets
    return sorted(int(np.flatnonzero(targets == target)[0]) for target in np.unique(targets)[:_EXAMPLES])


def _page(figures: Sequence[tuple[str, str, str]], pictures: Sequence[tuple[str, str, Picture]]) -> str:
    drawn = [(title, text, data_address(svg.encode(), "svg+xml")) for title, text, svg in figures]
    shown = [(text, data_address(_png(picture), "png")) for _, text, picture in pictures]
    return render_plain("training.html", title="How the network was trained", figures=drawn, pictures=shown)


def _png(picture: Picture) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()

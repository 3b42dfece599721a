"""Pictures of what a model's network sees in given images: feature maps of chosen layers, filters and Grad-CAM."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from pipelines.report.page import REPORT, Page, render
from pipelines.report.sections.network import Shown, network
from pipelines.training.classifier import with_head
from pipelines.training.network_files import draw_pictures
from pipelines.training.network_pictures import Looker
from pipelines.training.networks import open_trainable
from pipelines.training.pixels import given_pixels
from transforms.encoders.handle import Kind, parse_handle
from transforms.errors import EncoderError, OptionError
from transforms.files import filesystem
from transforms.measures.remarks import plural
from transforms.model.directory import ModelDirectory

IMAGES, LAYERS = 20, 10
"""That are drawn at most; a page holds all of them."""

_LEAD = (
    "The pictures lie beside this page, too. They are drawn by TensorFlow in float32; other engines and precisions may "
    "differ in the last digits."
)


def draw_model(model: ModelDirectory, flags: argparse.Namespace) -> dict[str, Any]:
    """Draws the images of ``--input`` into ``--output``; without both, tells which layers can be drawn.

    Args:
      model: that is looked into.
      flags: ``input``, ``output``, ``layers`` and how the input is read.

    Returns:
      The model, its layers that have feature maps, those that are drawn, and what each file shows.

    Raises:
      EncoderError: its layers cannot be told.
      OptionError: one of both flags only, a layer that is not there, or a place that cannot be written.
    """
    if bool(flags.input) != bool(flags.output):
        raise OptionError("--input and --output go together; without both the layers that can be drawn are listed")
    names = list(dict.fromkeys(name.strip() for name in (flags.layers or "").split(",") if name.strip()))
    if len(names) > LAYERS:
        raise OptionError(f"--layers names {len(names)} layers; {LAYERS} at most are drawn, so draw them in turns")
    output = filesystem.check_writable("--output", flags.output) if flags.output else None
    looker = _look_into(model, flags.trust_model)
    chosen = looker.choose(names)
    pictures: Sequence[Shown] = ()
    if output:
        images = _images(model, flags)
        pictures = draw_pictures(looker, model.head, images, chosen, len(images))
        _write(output, model, pictures, len(images))
    return {
        "model": model.path,
        "layers": _describe_layers(looker),
        "drawn": chosen,
        "output": output,
        "files": {one.file: one.text for one in pictures},
    }


def _look_into(model: ModelDirectory, trust_model: bool) -> Looker:
    source = parse_handle(model.encoder.source)
    plain = source.kind is Kind.REMOTE and not source.target.endswith(".keras")
    if plain or source.kind in (Kind.SAVED_MODEL, Kind.TF_HUB, Kind.KAGGLE):
        raise EncoderError(
            f"{model.encoder.source} is a SavedModel, whose layers cannot be told, so there are no pictures of it; "
            "those of a .keras file, of keras.applications and of the default encoder can"
        )
    classifier = with_head(open_trainable(model.encoder, trust_model), model.head, 0, 0.0, 0)
    size = model.encoder.preprocessing
    looker = Looker(classifier, (size.height, size.width, 3))
    if not looker.shapes:
        raise EncoderError(f"{model.encoder.source} has no layer with feature maps, so there is nothing to draw")
    return looker


def _describe_layers(looker: Looker) -> list[dict[str, Any]]:
    return [
        {"name": name, "kind": looker.kind(name), "height": height, "width": width, "maps": maps}
        for name, (height, width, maps) in looker.shapes.items()
    ]


def _images(model: ModelDirectory, flags: argparse.Namespace) -> list[tuple[str, Any]]:
    """Returns what the first images of ``--input`` are known as, and their pixels as the network takes them."""
    pixels, listed = given_pixels(flags, model.encoder.preprocessing, IMAGES)
    if listed > IMAGES:
        print(f"heliograph: note: the first {IMAGES} of {listed:,} images are drawn", file=sys.stderr)
    failed = sum(pixels.failures.values())
    if failed:
        print(f"heliograph: note: {failed} of {len(pixels.references)} cannot be used: left out", file=sys.stderr)
    found = []
    for row, reference in enumerate(pixels.references):
        if pixels.sha256[row]:
            name = reference.uri.rstrip("/").rpartition("/")[2]
            labels = f" ({', '.join(reference.labels)})" if reference.labels else ""
            found.append((name + labels, pixels.array[row]))
    return found


def _write(output: str, model: ModelDirectory, pictures: Sequence[Shown], images: int) -> None:
    page = Page(
        run_id=model.identifier,
        title="What the network sees",
        kicker=f"Pictures of a network: {model.path} ({model.identifier})",
        verdict=f"What version {model.version} sees in {plural(images, 'image')}",
        sections=[network(pictures, _LEAD)],
    )
    files = {one.file: one.png() for one in pictures}
    system, root = filesystem.open_filesystem(output)
    try:
        for name, data in {**files, REPORT: render(page).encode("utf-8", "replace")}.items():
            filesystem.write_atomically(system, f"{root}/{name}", data)
    except OSError as error:
        raise OptionError(f"--output {output} cannot be written ({error.strerror or error})") from error

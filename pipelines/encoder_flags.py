"""The flags that name an encoder."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence

from pipelines.calibration_sample import draw_pixels
from transforms.encoders import engines
from transforms.encoders.calibration import calibration_facts, fetch_calibration
from transforms.encoders.devices import DEVICES
from transforms.encoders.resolve import DEFAULT, RESIZES, resolve_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import OptionError
from transforms.sources.dialects import Source
from transforms.store.catalog import find_encoder, table_path


def add_encoder_flags(parser: argparse.ArgumentParser) -> None:
    """Adds ``--encoder`` and what a model may not say of itself."""
    parser.add_argument(
        "--encoder",
        default=DEFAULT,
        metavar="E",
        help="the default's name, a TF Hub or Kaggle handle, a SavedModel directory, a .keras file or "
        "keras.applications:NAME",
    )
    parser.add_argument("--image-size", metavar="N|HxW", help="input size, where the model does not tell")
    parser.add_argument(
        "--pixel-range", metavar="LOW,HIGH", help="input values, where the model does not tell: 0,1 or =-1,1"
    )
    parser.add_argument("--resize", choices=RESIZES, help="resize method (default: the encoder's own, or bilinear)")
    parser.add_argument(
        "--exact-decode",
        action="store_true",
        help="decode large JPEGs fully, not scaled to twice the input size",
    )
    parser.add_argument(
        "--engine",
        choices=(engines.AUTO, *engines.PRECISIONS),
        default=engines.AUTO,
        help="what computes the vectors; auto goes on with the table's, else takes the fastest that gives TensorFlow's",
    )
    parser.add_argument(
        "--precision",
        choices=sorted({name for names in engines.PRECISIONS.values() for name in names}, reverse=True),
        default="float32",
        help="what it computes in; each has a table of its own",
    )
    add_device_flag(parser)


def add_device_flag(parser: argparse.ArgumentParser) -> None:
    """Adds ``--encoder-device``."""
    parser.add_argument(
        "--encoder-device",
        choices=DEVICES,
        default=DEVICES[0],
        help="what it computes on; auto is a GPU where TensorFlow finds one",
    )


def resolve(flags: argparse.Namespace, sources: Sequence[Source], works_here: bool = True) -> EncoderSpecification:
    """Returns the specification of the encoder that the flags name, on its engine; says which and why.

    Args:
      flags: of add_encoder_flags, and the store.
      sources: of the images, for a calibration.
      works_here: the workers are on this machine.
    """
    specification = resolve_encoder(
        flags.encoder,
        image_size=image_size(flags.image_size),
        pixel_range=_pixel_range(flags.pixel_range),
        resize=flags.resize,
        exact_decode=flags.exact_decode,
        trust_model=flags.trust_model,
    )
    chosen, why = engines.choose_engine(
        specification,
        flags.engine,
        flags.precision,
        find_table=lambda candidate: find_encoder(flags.store, candidate) if flags.store else None,
        draw_sample=functools.partial(draw_pixels, sources, specification.preprocessing),
        trust_model=flags.trust_model,
        device=flags.encoder_device,
        works_here=works_here,
    )
    print(f"encoder: {chosen.name} by {chosen.engine} in {chosen.precision} ({why})", file=sys.stderr)
    if chosen.calibration:
        if flags.store:
            fetch_calibration(chosen, table_path(flags.store, chosen))
        warning = calibration_facts(chosen).get("warning")
        if warning:
            print(f"heliograph: note: {warning}", file=sys.stderr)
    return chosen


def image_size(text: str | None) -> tuple[int, int] | None:
    """Returns height and width of ``--image-size``, None when it was not given."""
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.lower().split("x")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(0 < number <= 4096 for number in numbers):
        raise OptionError(f"--image-size must be 224 or HEIGHTxWIDTH such as 224x320, got {text!r}")
    return numbers[0], numbers[-1]


def _pixel_range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise OptionError(f"--pixel-range must be two numbers such as 0,1 or -1,1 or 0,255, got {text!r}")
    return low, high

"""A whole model as one LiteRT file: the pixels of an image to probabilities, with its measured difference."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.pixels import given_pixels
from transforms.encoders.conversion import reference
from transforms.encoders.golden import golden_images
from transforms.encoders.litert_model import LiteRTModel, convert_with_head
from transforms.encoders.resolve import load_encoder
from transforms.errors import OptionError, SelfTestError
from transforms.files import filesystem
from transforms.model.directory import ModelDirectory

TOLERANCE = 1e-3
"""By how much a probability may differ from batch scoring's."""

LARGEST = 1000
"""Images that are compared at most."""

Array = npt.NDArray[np.float32]


def export_litert(model: ModelDirectory, flags: argparse.Namespace) -> dict[str, Any]:
    """Writes ``--output``, a .tflite file, and its description beside it, a .json file.

    Args:
      model: that is exported.
      flags: ``output``, and ``input`` with images to compare on; without them the golden images.

    Returns:
      The description.

    Raises:
      EncoderError: LiteRT cannot compute the encoder.
      OptionError: the place cannot be written.
      SelfTestError: the probabilities are not those of batch scoring.
    """
    output = _check_output(flags.output)
    data = convert_with_head(model.encoder, model.head.folded, model.head.activation, flags.trust_model)
    pixels = _pixels(model, flags) if flags.input else golden_images(model.encoder)
    encoder = load_encoder(reference(model.encoder), trust_model=flags.trust_model)
    expected = model.head.probabilities(encoder.encode(pixels))
    difference = compare(LiteRTModel(data).probabilities(pixels), expected)
    if not difference["largest"] <= TOLERANCE:
        raise SelfTestError(
            f"LiteRT's probabilities differ by {difference['largest']:.2g} from batch scoring's (at most "
            f"{TOLERANCE:g}); nothing is written, use the SavedModel in {model.path}"
        )
    compared = list(map(filesystem.absolute, flags.input or ())) or "golden images"
    description = {
        **_describe(model),
        "file": output,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "difference": {**difference, "to": "TensorFlow, float32", "of": compared},
    }
    system, path = filesystem.open_filesystem(output)
    try:
        filesystem.write_atomically(system, path, data)
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        filesystem.write_atomically(system, path.removesuffix(".tflite") + ".json", text.encode())
    except OSError as error:
        raise OptionError(f"--output {output} cannot be written ({error.strerror or error})") from error
    return description


def compare(found: Array, expected: Array) -> dict[str, Any]:
    """Returns how far two ``float32[N, C]`` of probabilities are from each other."""
    differences = np.abs(found - expected)
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    return {
        "images": len(found),
        "largest": float(differences.max()),
        "mean": float(differences.mean()),
        "same_answer": float(same.mean()),
    }


def _check_output(address: str) -> str:
    if not address.endswith(".tflite"):
        raise OptionError(f"--output must be a file that ends in .tflite, got {address!r}")
    parent = filesystem.check_writable("--output", filesystem.absolute(address).rpartition("/")[0] or "/")
    return filesystem.join(parent, address.rpartition("/")[2])


def _pixels(model: ModelDirectory, flags: argparse.Namespace) -> npt.NDArray[np.uint8]:
    """Decodes the images of ``--input`` as batch scoring does; those that fail are left out."""
    read, _ = given_pixels(flags, model.encoder.preprocessing, LARGEST)
    return read.array[np.flatnonzero([bool(sha256) for sha256 in read.sha256])]


def _describe(model: ModelDirectory) -> dict[str, Any]:
    size = model.encoder.preprocessing
    outputs = {"shape": [1, len(model.labels)], "dtype": "float32", "activation": model.head.activation}
    return {
        "model": model.path,
        "identifier": model.identifier,
        "input": {
            "shape": [1, size.height, size.width, 3],
            "dtype": "uint8",
            "content": "RGB pixels of an image, decoded, upright and resized: LiteRT has no operators for that",
            "preprocessing": dataclasses.asdict(size),
        },
        "output": outputs,
        "labels": list(model.labels),
        "decision": model.head.decision.to_json(),
    }

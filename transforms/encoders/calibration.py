"""An int8 network: calibrated on images of the collection, kept in the cache and beside what was made with it.

```
TABLE/_calibrated/, MODEL/<n>/_calibrated/, CACHE/<digest>-<calibration>/
  network.tflite     one image, uint8[1, height, width, 3] to float32[1, D], computed in int8
  golden.npy         float32[G, D]: TensorFlow's own vectors of the golden images
  calibration.json   images looked at, images held back, and how alike the vectors of these are to TensorFlow's
```
The specification's ``calibration`` is made of the digests of the images and of the network, so that the vectors of
two calibrations never share a table, and no other file is taken for the network.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np

from transforms.encoders import conversion
from transforms.encoders.conversion import keep_network, network_directory, read_network, scratch_directory
from transforms.encoders.difference import difference
from transforms.encoders.encoder import Pixels
from transforms.encoders.litert import load_litert
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import EncoderError
from transforms.files.filesystem import create, join, open_filesystem, read_bytes

SAMPLE_IMAGES = 160
"""Images of a collection that are drawn for the calibration."""

HELD_BACK_SHARE = 0.2
"""Of them, those that the network is compared on with TensorFlow's and not calibrated on."""

LEAST_MEAN = 0.99
"""Mean cosine of the images held back below which a calibration is warned of."""

DIRECTORY = "_calibrated"
"""Below a table or a model's version."""

_NETWORK, _FACTS = "network.tflite", "calibration.json"
_FILES = (_NETWORK, "golden.npy", _FACTS)


def calibrate(specification: EncoderSpecification, pixels: Pixels, trust_model: bool = False) -> EncoderSpecification:
    """Quantises an encoder's network, unless the cache has it for these very images.

    Args:
      specification: of the encoder, in int8.
      pixels: ``uint8[N, height, width, 3]``, images of the collection; HELD_BACK_SHARE of them are held back.
      trust_model: loads models that carry code as well.

    Returns:
      The specification with its ``calibration``.

    Raises:
      EncoderError: LiteRT cannot compute the network in int8, or there is no image.
    """
    if not len(pixels):
        raise EncoderError("int8 is calibrated on images of the input, and none of them can be read")
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]
    refused = dataclasses.replace(specification, calibration="refused")
    read_network(network_directory(refused))
    place = network_directory(dataclasses.replace(specification, calibration=digest))
    for found in sorted(place.parent.glob(f"{place.name}-*")):
        known = dataclasses.replace(specification, calibration=f"{digest}{found.name.removeprefix(place.name)}")
        if _is_whole(known):
            return known
    with scratch_directory(place.parent) as scratch:
        held_back = int(len(pixels) * HELD_BACK_SHARE)
        apart, seen = pixels[:held_back], pixels[held_back:]
        np.savez(pathlib.Path(scratch, conversion.SAMPLE_FILE), held_back=apart, calibration=seen)
        conversion.convert_in_process(specification, trust_model, scratch)
        if not pathlib.Path(scratch, _NETWORK).exists():
            keep_network(scratch, network_directory(refused))
        suffix = _suffix(pathlib.Path(scratch, _NETWORK).read_bytes())
        done = dataclasses.replace(specification, calibration=f"{digest}{suffix}")
        expected = np.load(pathlib.Path(scratch, "held_back.npy"))
        pathlib.Path(scratch, _FACTS).write_text("{}")
        keep_network(scratch, network_directory(done))
    facts: dict[str, Any] = {"images": len(seen), "held_back": held_back}
    if held_back:
        facts |= difference(load_litert(done).encode(apart), expected)._asdict()
    (network_directory(done) / _FACTS).write_text(json.dumps(facts))
    return done


def calibration_facts(specification: EncoderSpecification) -> dict[str, Any]:
    """Returns how many ``images`` were looked at, ``held_back``, and the ``mean`` and ``least`` cosine of these.

    Below LEAST_MEAN there is a ``warning``, too. Where the cache has no network there is nothing.
    """
    try:
        facts: dict[str, Any] = json.loads((network_directory(specification) / _FACTS).read_text())
    except OSError:  # converted_network says what is missing
        return {}
    if facts.get("mean", 1.0) < LEAST_MEAN:
        facts["warning"] = (
            f"int8 changes the vectors of these images: mean cosine to TensorFlow's {facts['mean']:.4f}, below "
            f"{LEAST_MEAN}; embed with --precision float32, or bfloat16, instead"
        )
    return facts


def publish_calibration(specification: EncoderSpecification, place: str) -> None:
    """Copies the network of a calibration from the cache below a table or a model; what is there stays.

    Raises:
      EncoderError: the cache does not have it.
    """
    directory = network_directory(specification)
    if not _is_whole(specification):
        raise EncoderError(f"{directory} is damaged; embed again, or bring {_NETWORK} back")
    for name in _FILES:
        create(join(place, DIRECTORY, name), (directory / name).read_bytes())


def fetch_calibration(specification: EncoderSpecification, place: str) -> None:
    """Copies the network of a calibration into the cache from below a table or a model, where it is needed and there.

    Raises:
      EncoderError: what lies there is another network.
    """
    if _is_whole(specification):
        return
    root, path = open_filesystem(join(place, DIRECTORY))
    try:
        files = {name: read_bytes(root, f"{path}/{name}") for name in _FILES}
    except OSError:
        return  # converted_network says what is missing
    if not specification.calibration.endswith(_suffix(files[_NETWORK])):
        raise EncoderError(
            f"{join(place, DIRECTORY, _NETWORK)} is not the network {specification.calibration} any more; "
            "bring the file back, or embed into another store"
        )
    directory = network_directory(specification)
    with scratch_directory(directory.parent) as scratch:
        for name, data in files.items():
            pathlib.Path(scratch, name).write_bytes(data)
        keep_network(scratch, directory)


def _is_whole(specification: EncoderSpecification) -> bool:
    directory = network_directory(specification)
    try:
        data = (directory / _NETWORK).read_bytes()
    except OSError:
        return False
    whole = all(os.path.exists(directory / name) for name in _FILES)
    return whole and specification.calibration.endswith(_suffix(data))


def _suffix(network: bytes) -> str:
    """Returns how a ``calibration`` ends that has this network."""
    return f"-{hashlib.sha256(network).hexdigest()[:32]}"

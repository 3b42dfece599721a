"""What an encoder is, written down: everything that changes its vectors, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

_LEFT_OUT = ("calibration", "bias_correction")
"""Fields without which encoders that have no such thing keep the fingerprints that they had."""

PREPROCESSING_VERSION = 1
"""Raised whenever the uint8 pixels that enter a network change for any image."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Image bytes to ``uint8[height, width, 3]``: the part that batch and served model share.

    Attributes:
      height: rows that enter the network, in pixels.
      width: columns that enter the network, in pixels.
      resize: ``bilinear``, ``bicubic``, ``lanczos`` or ``box``, as Pillow computes them.
      exact_decode: decode large JPEGs fully rather than scaled to at least twice the size.
      version: PREPROCESSING_VERSION of the code that decodes.
    """

    height: int
    width: int
    resize: str = "bilinear"
    exact_decode: bool = False
    version: int = PREPROCESSING_VERSION

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change when any field does."""
        return fields_digest(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderSpecification:
    """An encoder maps ``uint8[B, height, width, 3]`` (RGB) to ``float32[B, dimension]``.

    Attributes:
      name: short, made of ``[a-z0-9.-]``; the first part of the table's directory.
      source: the handle, path or name that was asked for.
      weights_sha256: digest of the weights; what stands behind ``source`` may move, this may not.
      preprocessing: bytes to pixels.
      scale: per channel, in the network's order; the network sees ``pixel * scale + offset``.
      offset: per channel, in the network's order.
      channel_order: ``RGB`` or ``BGR``, the network's order; channels are swapped before they are scaled.
      dimension: length of a vector.
      engine: ``tensorflow`` …, what computes the vectors.
      precision: ``float32`` …
      calibration: of int8: digests of the images that were looked at, and of the network that came of it.
      bias_correction: of bfloat16: biases make up for the rounding of weights, which they do not in older tables.
    """

    name: str
    source: str
    weights_sha256: str
    preprocessing: Preprocessing
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    channel_order: str = "RGB"
    dimension: int
    engine: str = "tensorflow"
    precision: str = "float32"
    calibration: str = ""
    bias_correction: bool = False

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change when the vectors may: all fields but name and source."""
        fields = self.to_json()
        del fields["name"], fields["source"]
        return fields_digest(fields)

    @property
    def table_name(self) -> str:
        """The directory of this encoder's table in a store."""
        return f"{self.name}-{self.fingerprint[:8]}"

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types, ``calibration`` and ``bias_correction`` where there is one."""
        fields: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return {name: value for name, value in fields.items() if value or name not in _LEFT_OUT}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> EncoderSpecification:
        """The inverse of to_json."""
        values = dict(fields)
        values["preprocessing"] = Preprocessing(**values["preprocessing"])
        values["scale"] = tuple(values["scale"])
        values["offset"] = tuple(values["offset"])
        return cls(**values)


def fields_digest(fields: Mapping[str, Any]) -> str:
    """Returns 16 hexadecimal digits that are the same for equal fields of JSON types, in any order."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

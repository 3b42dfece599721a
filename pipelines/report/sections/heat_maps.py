"""What the model looks at: heat maps of images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from pipelines.report.assets import data_address
from pipelines.report.occlusion import evidence
from pipelines.report.page import Section
from pipelines.report.thumbnails import SIDE, read_image
from pipelines.training.network_pictures import overlay
from transforms.encoders.engines import where_installed
from transforms.encoders.resolve import load_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import HeliographError
from transforms.images.decode import decode_image
from transforms.model.head import Head

IMAGES = 4
"""Heat maps of a page; each takes fifty images' time."""


def heat_maps(
    head: Head, specification: EncoderSpecification, trust_model: bool, images: Sequence[Mapping[str, Any]]
) -> Section | None:
    """Returns the section; None when no image can be read, or the encoder cannot be loaded.

    Args:
      head: of the model.
      specification: of the encoder.
      trust_model: load an encoder that carries code.
      images: as ``images`` of metrics.schema.json, the most telling first; those in containers are left out.
    """
    entries: list[dict[str, Any]] = []
    for image in images:
        if len(entries) == IMAGES:
            break
        try:
            data = read_image(image["image_uri"])
            if data is None:
                continue
            pixels = decode_image(data, specification.preprocessing).pixels
            found = evidence(load_encoder(where_installed(specification), trust_model=trust_model).encode, head, pixels)
        except (HeliographError, OSError, ValueError):
            continue
        entries.append({**image, "heat": _address(overlay(pixels, np.maximum(found, 0)))})
    if not entries:
        return None
    return Section(
        id="heat",
        title="What the model looks at",
        short="Heat maps",
        template="heat_maps",
        data={"entries": entries},
        images=[entry["image_uri"] for entry in entries],
    )


def _address(picture: np.ndarray) -> str:
    stream = io.BytesIO()
    image = Image.fromarray(picture)
    image.thumbnail((2 * SIDE, 2 * SIDE))
    image.save(stream, "JPEG", quality=85)
    return data_address(stream.getvalue(), "jpeg")

"""What a network sees: class-activation heat maps, the filters of its first layer, and feature maps."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.report.assets import data_address
from pipelines.report.page import Section

HEAT, FILTERS, MAPS = "heat", "filters", "maps"
"""What a picture shows; its name begins with it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture for people.

    Attributes:
      name: of its file, without the ending; begins with HEAT, FILTERS or MAPS.
      text: what it shows.
      picture: ``uint8[height, width, 3]``.
    """

    name: str
    text: str
    picture: npt.NDArray[np.uint8]

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}.png"

    def png(self) -> bytes:
        """Returns it as a PNG file."""
        stream = io.BytesIO()
        Image.fromarray(self.picture).save(stream, "PNG")
        return stream.getvalue()


def network(pictures: Sequence[Shown], lead: str) -> Section | None:
    """Returns the section; None without a picture.

    Args:
      pictures: of images, filters and layers.
      lead: what the images are, and where the pictures lie.
    """
    if not pictures:
        return None
    found = {
        kind: [(one.text, data_address(one.png(), "png")) for one in pictures if one.name.startswith(kind)]
        for kind in (HEAT, FILTERS, MAPS)
    }
    data = {**found, "lead": lead}
    return Section(id="network", title="What the network sees", short="Network", template="network", data=data)

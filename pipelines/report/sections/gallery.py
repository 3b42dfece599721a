"""A gallery of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.page import Section

MOST = 100
"""Images of a gallery at most."""


def gallery(id: str, title: str, short: str, lead: str, images: Sequence[Mapping[str, Any]]) -> Section | None:
    """Returns the section; None without images.

    Args:
      id: of the section.
      title: the heading.
      short: for the navigation.
      lead: what is seen and what to do about it.
      images: as ``images`` of metrics.schema.json.
    """
    if not images:
        return None
    shown = images[:MOST]
    data = {"lead": lead, "images": shown}
    addresses = [image["image_uri"] for image in shown]
    return Section(id=id, title=title, short=short, template="gallery", data=data, images=addresses)

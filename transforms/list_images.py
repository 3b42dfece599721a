"""List the images of every source: references only, no pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

import apache_beam as beam

from transforms.sources.dialects import Source


def list_source(source: Source, only: Collection[str] | None = None) -> Iterator[tuple[Any, ...]]:
    """Yields the packed references of one source; when ``only`` is given, those with such an image id."""
    for reference in source.list_images():
        if only is None or reference.image_id in only:
            yield reference.pack()


@dataclasses.dataclass(kw_only=True)
class ListImages(beam.PTransform):
    """Sources to packed ImageReferences.

    Attributes:
      only: image ids to which the listing is narrowed; None for all.
    """

    only: Collection[str] | None = None

    def expand(self, sources: beam.PCollection) -> beam.PCollection:
        """Maps list_source."""
        return sources | "ListSource" >> beam.FlatMap(list_source, self.only)

"""List the images of every source: references only, no pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from transforms.sources.dialects import Source


def list_source(source: Source) -> Iterator[tuple[Any, ...]]:
    """Yields the packed references of one source."""
    for reference in source.list_images():
        yield reference.pack()


@dataclasses.dataclass(kw_only=True)
class ListImages(beam.PTransform):
    """Sources to packed ImageReferences."""

    def expand(self, sources: beam.PCollection) -> beam.PCollection:
        """Maps list_source."""
        return sources | "ListSource" >> beam.FlatMap(list_source)

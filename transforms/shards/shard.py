"""A shard: a bounded list of images, named by what is in it. The unit of work, retry, resume and commit."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from transforms.sources.reference import ImageReference


class Shard(NamedTuple):
    """Some images to be worked on together.

    Attributes:
      name: 24 hexadecimal digits that follow from the images and from what is done to them.
      references: sorted by address, those of a container by their place in it; only the last field of each may
        say that it is no image.
      replaced_ids: of images that the table has in an older form.
    """

    name: str
    references: tuple[ImageReference, ...]
    replaced_ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, references: Iterable[ImageReference], replaced_ids: Iterable[str], purpose: str) -> Shard:
        """Names a shard; ``purpose`` is what is done to the images, and with which network."""
        ordered = tuple(sorted(references, key=lambda reference: (reference.place, reference)))
        digest = hashlib.sha256(purpose.encode())
        for reference in ordered:
            digest.update(repr(tuple(reference)).encode("utf-8", "surrogatepass"))
        return cls(digest.hexdigest()[:24], ordered, tuple(sorted(replaced_ids)))

    def pack(self) -> tuple[Any, ...]:
        """A plain tuple, which Beam encodes without pickling."""
        return (self.name, tuple(reference.pack() for reference in self.references), self.replaced_ids)

    @classmethod
    def unpack(cls, fields: tuple[Any, ...]) -> Shard:
        """The inverse of pack."""
        name, references, replaced_ids = fields
        return cls(name, tuple(ImageReference.unpack(reference) for reference in references), tuple(replaced_ids))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What became of a shard: the content of its marker, and all that the commit needs to know.

    Attributes:
      name: the shard's.
      files: kind of file (``data``, ``jsonl``, ``errors`` …) to its path below the work's root.
      rows: in the part.
      size: of the part, in bytes.
      encoded: images that went through the network.
      copied: images whose vector was known already, by their content.
      failures: class of dead letter to their number.
      failure_example: one dead letter's message, to show.
      replaced_ids: images whose older rows the commit takes out; only those that have a new row.
      stage_seconds: seconds of work per stage, added up over threads.
      peak_memory_mb: of the process, when the shard was done.
      resumed: the marker was there already: an earlier run did the work.
    """

    name: str
    files: dict[str, str]
    rows: int
    size: int
    encoded: int
    copied: int
    failures: dict[str, int]
    failure_example: str
    replaced_ids: tuple[str, ...]
    stage_seconds: dict[str, float]
    peak_memory_mb: float
    resumed: bool = False

    @property
    def failed(self) -> int:
        """Number of dead letters."""
        return sum(self.failures.values())

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> ShardResult:
        """The inverse of to_json.

        Raises:
          ValueError: the text is cut short or of another form.
        """
        try:
            fields = json.loads(text)
            return cls(**{**fields, "replaced_ids": tuple(fields["replaced_ids"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a shard's marker: {error}") from error

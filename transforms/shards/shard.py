"""A shard: a bounded list of images, named by what is in it. The unit of work, retry, resume and commit."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from transforms.errors import ErrorClass
from transforms.sources.reference import ImageReference

FORMAT = 3
"""Part of each shard's name; raised when what a part or marker holds changes, so that older ones are not resumed."""

FILE_KINDS = frozenset({"data", "parquet", "jsonl", "csv", "errors"})
_NAME = re.compile(r"[0-9a-f]{24}")
_FILE = re.compile(r"(?:data/|_work/parts/)?[A-Za-z0-9][A-Za-z0-9_.-]*")


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
        replaced = tuple(sorted(replaced_ids))
        digest = hashlib.sha256(repr((FORMAT, purpose, replaced)).encode())
        for reference in ordered:
            digest.update(repr(tuple(reference)).encode("utf-8", "surrogatepass"))
        return cls(digest.hexdigest()[:24], ordered, replaced)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What became of a shard: the content of its marker, and all that the commit needs to know.

    Attributes:
      name: the shard's.
      run_id: of the run that did the work.
      files: kind of file (``data``, ``jsonl``, ``errors`` …) to its path below the work's root.
      rows: in the part.
      sizes: of the files, in bytes, by kind.
      encoded: images that went through the network.
      copied: images whose vector was known already, by their content.
      failures: class of dead letter to their number.
      failure_example: one dead letter's message, to show.
      classes: label, or predicted class, to its rows; "" for rows that have none.
      replaced: rows that take the place of older ones, which the commit takes out.
      stage_seconds: seconds of work per stage, added up over threads.
      peak_memory_mb: of the process, when the shard was done.
      core_seconds: the worker's cores × the seconds that it took, loading of the network included.
      lanes: how the worker did it at the end; see ShardWork.lanes.
      resumed: the marker was there already: an earlier run did the work.
    """

    name: str
    run_id: str
    files: dict[str, str]
    rows: int
    sizes: dict[str, int]
    encoded: int
    copied: int
    failures: dict[str, int]
    failure_example: str
    classes: dict[str, int]
    replaced: int
    stage_seconds: dict[str, float]
    peak_memory_mb: float
    core_seconds: float = 0.0
    lanes: dict[str, int] = dataclasses.field(default_factory=dict)
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
        """The inverse of to_json; a marker may have been written by anybody, so its names are looked at.

        Raises:
          ValueError: the text is cut short, of another form, or names a file outside of its root.
        """
        try:
            fields = json.loads(text)
            result = cls(**fields)
            sane = (
                _NAME.fullmatch(result.name)
                and result.files.keys() == result.sizes.keys() <= FILE_KINDS
                and all(map(_FILE.fullmatch, result.files.values()))
                and all(isinstance(number, int) for number in (result.replaced, *result.sizes.values()))
                and all(isinstance(number, int) for number in (*result.classes.values(), *result.lanes.values()))
                and all(error_class in ErrorClass.__members__ for error_class in result.failures)
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a shard's marker: {error}") from error
        if not sane:
            raise ValueError(f"not a shard's marker: {text[:200]!r}")
        return result

"""An image reference: where an image is and what is known of it, without its pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from transforms.errors import ErrorClass, ImageError

SPLITS = ("train", "validation", "test")


class Member(NamedTuple):
    """Where an image lies in a container.

    Attributes:
      container: address of the container.
      form: what reads it, a key of MEMBER_READERS.
      ordinal: of the image in the container, from 0.
      offset: of the image or of its record in the container, decompressed; in Parquet, the number of the row group.
      length: in bytes; in Parquet, the row within its group.
      column: the feature or column that holds the bytes, where there are several.
      sequential: the container can only be read from its beginning (gzip).
    """

    container: str
    form: str
    ordinal: int
    offset: int
    length: int
    column: str = ""
    sequential: bool = False


class ImageReference(NamedTuple):
    """One listed image.

    Attributes:
      uri: absolute address of the file that holds the image; CONTAINER#MEMBER when that is a container.
      fingerprint: of the file as it was listed (size and modification time); empty when unknown. A member's is
        its container's with its place.
      labels: in the order given.
      split: ``train``, ``validation``, ``test`` or empty, when it follows from group or content.
      group: images of one group never straddle two splits; empty when there is none.
      attributes: further columns, by which results are sliced; sorted by name.
      place: a Member's fields when the image lies in a container, else empty.
      problem: why the listed entry cannot be an image (``CLASS: message``); it becomes a dead letter.
    """

    uri: str
    fingerprint: str = ""
    labels: tuple[str, ...] = ()
    split: str = ""
    group: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    place: tuple[Any, ...] = ()
    problem: str = ""

    @property
    def image_id(self) -> str:
        """The entity key: 32 hexadecimal digits of the SHA-256 of the uri."""
        return hashlib.sha256(self.uri.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @property
    def member(self) -> Member | None:
        """Where the image lies in its container; None for a file of its own."""
        return Member(*self.place) if self.place else None

    @property
    def metadata_digest(self) -> str:
        """16 hexadecimal digits of labels, group and attributes: when they change, so must the row."""
        said = repr((tuple(self.labels), self.group, tuple(map(tuple, self.attributes))))
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def with_problem(self, error_class: ErrorClass, message: str) -> ImageReference:
        """The same entry, marked as one that will be a dead letter."""
        return self._replace(problem=f"{error_class.value}: {message}")

    def raise_problem(self) -> None:
        """Raises the ImageError that ``problem`` describes, if there is one."""
        if self.problem:
            name, _, message = self.problem.partition(": ")
            raise ImageError(ErrorClass(name), message)

    def pack(self) -> tuple[Any, ...]:
        """A plain tuple, which Beam encodes without pickling."""
        return tuple(self)

    @classmethod
    def unpack(cls, fields: Iterable[Any]) -> ImageReference:
        """The inverse of pack."""
        return cls(*fields)

    def to_json(self) -> bytes:
        """One line of JSON, ASCII only."""
        return json.dumps(self).encode()

    @classmethod
    def from_json(cls, line: bytes) -> ImageReference:
        """The inverse of to_json."""
        uri, fingerprint, labels, split, group, attributes, place, problem = json.loads(line)
        pairs = tuple((name, value) for name, value in attributes)
        return cls(uri, fingerprint, tuple(labels), split, group, pairs, tuple(place), problem)

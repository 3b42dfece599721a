"""The work on a shard's pixels: each core decodes and encodes its own images, a few in turn."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from transforms.encoders.interpreters import InterpretedEncoder
from transforms.errors import ErrorClass, ImageError
from transforms.images.augment import Views
from transforms.shards.decoder import Decoder, Turn
from transforms.shards.outcome import DeadLetter, EncodedImage, Vectors
from transforms.sources.reference import ImageReference

Observe = Callable[[int, float], None]


def ignore(_size: int, _seconds: float) -> None:
    """Observes nothing."""


class Encodes(Protocol):
    """What a lane asks of an encoder."""

    def encode(self, pixels: npt.NDArray[np.uint8]) -> Vectors:
        """Maps ``uint8[B, H, W, 3]`` to ``float32[B, D]``."""
        ...


class FindsVectors(Protocol):
    """What a lane asks of an index of known content."""

    def knows(self, sha256: str) -> bool:
        """Returns whether there may be a vector of a content; asked by several threads."""
        ...

    def find(self, sha256: Sequence[str]) -> Mapping[str, Vectors]:
        """Returns the vectors of those contents that are known."""
        ...

    def find_views(self, sha256: Sequence[str], views: Views) -> Mapping[str, list[Vectors]]:
        """Returns the vectors of the first of their views, of contents of which some are known."""
        ...


@dataclasses.dataclass(kw_only=True)
class Lane(Decoder):
    """Turns image references into vectors.

    A network that takes one image a call is called by the thread that has decoded the image, so that no core waits
    for a batch. Others are encoded together once they are decoded; so are images whose content may be known.

    Attributes:
      encoder: the network; ``batch_size`` images a call, unless it takes one.
      known: vectors of known content, which are copied rather than computed; None for no such index.
      views_of: tells which augmented views of an image get a vector as well; None for no views.
      observe: is told the size and the seconds of each call of the network.
    """

    encoder: Encodes
    known: FindsVectors | None = None
    views_of: Callable[[EncodedImage], Views] | None = None
    observe: Observe = ignore

    def run(self, references: Sequence[ImageReference]) -> Iterator[list[EncodedImage] | DeadLetter]:
        """Yields batches of images with their vectors, and dead letters, as they come."""
        batch: list[EncodedImage] = []
        for outcome in self.decode(references):
            if isinstance(outcome, DeadLetter):
                yield outcome
                continue
            batch.append(outcome)
            if len(batch) == self.batch_size:
                yield from self._encode(batch)
                batch = []
        if batch:
            yield from self._encode(batch)

    def _work(self, turn: Turn) -> None:
        super()._work(turn)
        if not isinstance(self.encoder, InterpretedEncoder):
            return
        turn.worked = 0
        for position, image in enumerate(turn.outcomes):
            if isinstance(image, DeadLetter) or (self.known is not None and self.known.knows(image.sha256)):
                continue
            if not turn.begin(position):
                return
            clock = time.perf_counter()
            failures = list(_encode_or_bisect(self.encoder, [image]))
            image.seconds = time.perf_counter() - clock
            turn.worked, turn.seconds = turn.worked + 1, turn.seconds + image.seconds
            self.clock.add("encode", clock)
            if self.views_of is None:
                image.pixels = None
            if failures:
                turn.outcomes[position] = failures[0]

    def _encode(self, batch: list[EncodedImage]) -> Iterator[list[EncodedImage] | DeadLetter]:
        for image in batch:
            if image.vector is not None:
                self.observe(1, image.seconds)
        new = [image for image in batch if image.vector is None]
        if self.known is not None and new:
            vectors = self.known.find([image.sha256 for image in new])
            for image in new:
                if image.sha256 in vectors:
                    image.vector, image.copied = vectors[image.sha256], True
        yield from self._encode_new([image for image in new if image.vector is None])
        if self.views_of is not None:
            yield from self._encode_views([image for image in batch if image.vector is not None], self.views_of)
        for image in batch:
            image.pixels = None
        done = [image for image in batch if image.vector is not None]
        if done:
            yield done

    def _encode_new(self, new: Sequence[EncodedImage]) -> list[DeadLetter]:
        clock = time.perf_counter()
        failures = list(_encode_or_bisect(self.encoder, new)) if new else []
        self.clock.add("encode", clock)
        if new:
            self.observe(len(new), time.perf_counter() - clock)
        return failures

    def _encode_views(
        self, batch: Sequence[EncodedImage], views_of: Callable[[EncodedImage], Views]
    ) -> Iterator[DeadLetter]:
        """Adds what an image lacks of its views; one with a view that cannot be encoded has no row at all."""
        wanted = [(image, views) for image in batch if (views := views_of(image)).count]
        if self.known is not None and wanted:
            known = self.known.find_views([image.sha256 for image, _ in wanted], wanted[0][1])
            for image, _ in wanted:
                image.views = list(known.get(image.sha256, ()))
        missing = [
            (image, views, number) for image, views in wanted for number in range(len(image.views) + 1, views.count + 1)
        ]
        for start in range(0, len(missing), self.batch_size):
            some = missing[start : start + self.batch_size]
            clock = time.perf_counter()
            seen = [
                dataclasses.replace(image, pixels=views.make(image.pixels, number), vector=None)
                for image, views, number in some
                if image.pixels is not None
            ]
            self.clock.add("augment", clock)
            failures = {letter.reference: letter for letter in self._encode_new(seen)}
            for (image, *_), view in zip(some, seen, strict=True):
                image.copied = False
                if view.vector is not None:
                    image.views.append(view.vector)
                elif image.vector is not None:
                    image.vector = None
                    yield failures[image.reference]


def _encode_or_bisect(encoder: Encodes, batch: Sequence[EncodedImage]) -> Iterator[DeadLetter]:
    """Sets each image's vector; a batch that fails is halved until the guilty image stands alone."""
    try:
        vectors = encoder.encode(np.stack([image.pixels for image in batch if image.pixels is not None]))
    except Exception as error:  # noqa: BLE001  a network raises what it likes; only its image pays for it
        if len(batch) > 1:
            half = len(batch) // 2
            yield from _encode_or_bisect(encoder, batch[:half])
            yield from _encode_or_bisect(encoder, batch[half:])
            return
        yield _encode_failure(batch[0], ErrorClass.MODEL_ERROR, str(error), type(error).__name__)
        return
    finite = np.isfinite(vectors)
    for image, vector, good in zip(batch, vectors, finite, strict=True):
        if good.all():
            image.vector = vector
        else:
            yield _encode_failure(image, ErrorClass.NON_FINITE, "the network's vector has NaN or Inf", "ValueError")


def _encode_failure(image: EncodedImage, error_class: ErrorClass, message: str, error_type: str) -> DeadLetter:
    error = ImageError(error_class, message, error_type)
    return DeadLetter(reference=image.reference, sha256=image.sha256, stage="encode", error=error)

"""The work on a shard's pixels: files are read ahead, and each core decodes and encodes its own images.

Memory is bounded by what is in flight, not by the shard: at most ``threads + 2 * batch_size`` images are decoded
ahead, and ``bytes_ahead`` of files are read ahead of these.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import datetime
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from transforms.encoders.interpreters import InterpretedEncoder
from transforms.encoders.specification import Preprocessing
from transforms.errors import ErrorClass, ImageError
from transforms.images.augment import Views
from transforms.images.decode import decode_image
from transforms.images.limits import DEFAULT_LIMITS, ImageLimits
from transforms.shards.readahead import BYTES_AHEAD, BegunFile, Readahead
from transforms.sources.reference import ImageReference

Vectors = npt.NDArray[np.float32]
Observe = Callable[[int, float], None]
MAX_MESSAGE = 500


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
class EncodedImage:
    """An image on its way through the lane; ``pixels`` is let go once ``vector`` and those of its views are there.

    ``seconds`` is what the network took, where it was called for this image alone.
    """

    reference: ImageReference
    sha256: str
    width: int
    height: int
    format: str
    byte_size: int
    brightness: float | None = None  # mean of the pixels that enter the network, 0 to 1
    pixels: npt.NDArray[np.uint8] | None = None
    vector: Vectors | None = None
    seconds: float = 0.0
    views: list[Vectors] = dataclasses.field(default_factory=list)
    copied: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One image that has no row, and why."""

    reference: ImageReference
    sha256: str
    stage: str
    error: ImageError

    def to_row(self, run_id: str, attempt: int = 1) -> dict[str, Any]:
        """The row of transforms.store.schema.DEAD_LETTER_SCHEMA."""
        reference = self.reference
        return {
            "image_id": reference.image_id,
            "image_uri": reference.uri,
            "sha256": self.sha256,
            "stage": self.stage,
            "error_class": self.error.error_class.value,
            "error_type": self.error.error_type,
            "error_message": str(self.error).encode("utf-8", "backslashreplace").decode()[:MAX_MESSAGE],
            "attempt": attempt,
            "run_id": run_id,
            "created": datetime.datetime.now(datetime.UTC),
            "labels": list(reference.labels),
            "split": reference.split,
            "group": reference.group,
            "attributes": list(reference.attributes),
            "source_fingerprint": reference.fingerprint,
        }


class StageClock:
    """Seconds of work per stage, added up over threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self._lock = threading.Lock()

    def add(self, stage: str, started: float) -> None:
        """Adds the time since ``started`` (of time.perf_counter)."""
        elapsed = time.perf_counter() - started
        with self._lock:
            self.seconds[stage] += elapsed


@dataclasses.dataclass(kw_only=True)
class Decoder:
    """Turns image references into pixels.

    Attributes:
      preprocessing: bytes to pixels.
      roots: folders below which local images must lie.
      batch_size: images that are wanted at once; twice as many are decoded ahead.
      threads: that decode.
      bytes_ahead: of files that are read and not yet decoded; two files a thread at least.
      timeout_seconds: for one image; a decoder that exceeds it is given up.
      limits: of decoding.
      with_brightness: measure it, which takes as long as a hundredth of decoding and encoding.
      clock: where the stages' seconds are counted.
    """

    preprocessing: Preprocessing
    roots: Sequence[str]
    batch_size: int = 32
    threads: int = 2
    bytes_ahead: int = BYTES_AHEAD
    timeout_seconds: float = 60.0
    limits: ImageLimits = DEFAULT_LIMITS
    with_brightness: bool = False
    clock: StageClock = dataclasses.field(default_factory=StageClock)

    def __post_init__(self) -> None:
        self._pool = self._new_pool()
        self._files = Readahead(self.roots, self.limits.max_bytes, self.bytes_ahead)

    def close(self) -> None:
        """Lets the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._files.close()

    def decode(self, references: Iterable[ImageReference]) -> Iterator[EncodedImage | DeadLetter]:
        """Reads and decodes in threads, in order, a bounded number ahead; yields pixels without vectors."""
        window: collections.deque[_Started] = collections.deque()
        files = self._files.read(references)
        ahead = self.threads + 2 * self.batch_size
        while True:
            while len(window) < ahead and (len(window) < 2 * self.threads or self._files.has_room):
                begun = next(files, None)
                if begun is None:
                    break
                window.append(self._submit(begun))
            if not window:
                return
            started = window.popleft()
            try:
                yield started.future.result(timeout=self._time_left(started))
            except concurrent.futures.TimeoutError:
                window = self._replace_stuck_pool(window)
                message = f"not decoded within {self.timeout_seconds:g} s"
                error = ImageError(ErrorClass.TIMEOUT, message, "TimeoutError")
                yield DeadLetter(reference=started.file.reference, sha256="", stage="decode", error=error)

    def _new_pool(self) -> concurrent.futures.ThreadPoolExecutor:
        return concurrent.futures.ThreadPoolExecutor(self.threads, thread_name_prefix="decode")

    def _submit(self, file: BegunFile) -> _Started:
        started = _Started(file)
        started.future = self._pool.submit(self._work, started)
        return started

    def _time_left(self, started: _Started) -> float:
        """Counts from the moment a thread took the image up; one that waits in line is not late."""
        if not started.at:
            # Everything before it in line is bounded by the same limit.
            return self.timeout_seconds * 2
        return max(0.0, started.at + self.timeout_seconds - time.monotonic())

    def _replace_stuck_pool(self, window: Iterable[_Started]) -> collections.deque[_Started]:
        """A thread cannot be stopped: leaves it to itself and gives the waiting images to fresh ones."""
        self._pool.shutdown(wait=False)
        self._pool = self._new_pool()
        self._files.replace_stuck_threads()
        return collections.deque(self._submit(one.file) if one.future.cancel() else one for one in window)

    def _work(self, started: _Started) -> EncodedImage | DeadLetter:
        started.at = time.monotonic()
        reference = started.file.reference
        stage, sha256 = "list", ""
        try:
            reference.raise_problem()
            stage = "read"
            data, seconds = started.file.wait()
            clock = time.perf_counter()
            sha256 = hashlib.sha256(data).hexdigest()
            self.clock.add("read", clock - seconds)
            stage = "decode"
            clock = time.perf_counter()
            image = decode_image(data, self.preprocessing, self.limits)
            self.clock.add("decode", clock)
        except ImageError as error:
            return DeadLetter(reference=reference, sha256=sha256, stage=stage, error=error)
        except MemoryError as error:
            failure = ImageError(ErrorClass.OUT_OF_MEMORY, f"out of memory: {error}", "MemoryError")
            return DeadLetter(reference=reference, sha256=sha256, stage=stage, error=failure)
        finally:
            started.file.close()
        return EncodedImage(
            reference=reference,
            sha256=sha256,
            width=image.width,
            height=image.height,
            format=image.format,
            byte_size=len(data),
            brightness=float(image.pixels.mean()) / 255 if self.with_brightness else None,
            pixels=image.pixels,
        )


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

    def run(self, references: Iterable[ImageReference]) -> Iterator[list[EncodedImage] | DeadLetter]:
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

    def _work(self, started: _Started) -> EncodedImage | DeadLetter:
        image = super()._work(started)
        if isinstance(image, DeadLetter) or not isinstance(self.encoder, InterpretedEncoder):
            return image
        if self.known is not None and self.known.knows(image.sha256):
            return image
        clock = time.perf_counter()
        failures = list(_encode_or_bisect(self.encoder, [image]))
        image.seconds = time.perf_counter() - clock
        self.clock.add("encode", clock)
        return failures[0] if failures else image

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


class _Started:
    """A file, when a thread took it up (of time.monotonic), and what becomes of it."""

    future: concurrent.futures.Future[EncodedImage | DeadLetter]

    def __init__(self, file: BegunFile) -> None:
        self.file, self.at = file, 0.0


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


def stack_vectors(batch: Sequence[EncodedImage]) -> Vectors:
    """Returns ``float32[N, D]``: each image, its views behind it."""
    vectors = [vector for image in batch for vector in (image.vector, *image.views) if vector is not None]
    return np.stack(vectors).astype(np.float32, copy=False)

"""Files become pixels: read ahead, and decoded by threads, each of which takes some files in turn.

Memory is bounded by what is in flight, not by the shard: at most ``Way.ahead + 2 * batch_size`` images are decoded
ahead, and ``bytes_ahead`` of files are read ahead of these.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import hashlib
import threading
import time
from collections.abc import Iterator, Sequence

from transforms.encoders.specification import Preprocessing
from transforms.errors import ErrorClass, ImageError
from transforms.images.decode import decode_image
from transforms.images.limits import DEFAULT_LIMITS, ImageLimits
from transforms.shards.outcome import DeadLetter, EncodedImage
from transforms.shards.readahead import BYTES_AHEAD, BegunFile, Readahead
from transforms.shards.tuning import USUAL, Tuning, Way
from transforms.sources.reference import ImageReference


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


class Turn:
    """Files that a thread takes one after the other; which it is at and since when, and what became of them.

    ``worked`` counts the images that were decoded and, where the thread encodes as well, encoded, in ``seconds``.
    """

    future: concurrent.futures.Future[None]

    def __init__(self, files: Sequence[BegunFile], way: Way) -> None:
        self.files, self.way = files, way
        self.outcomes: list[EncodedImage | DeadLetter] = []
        self.worked, self.seconds = 0, 0.0
        self.position = 0
        self._begun, self._over = 0.0, False
        self._lock = threading.Lock()

    def begin(self, position: int) -> bool:
        """Takes up an image, to decode or to encode it; returns False once nobody waits for it any more."""
        with self._lock:
            if not self._over:
                self.position, self._begun = position, time.monotonic()
            return not self._over

    def seconds_left(self, seconds: float) -> float:
        """Returns how much is left of an image's time; all of it before the first is taken up."""
        with self._lock:
            return self._begun + seconds - time.monotonic() if self._begun else seconds

    def give_up(self, seconds: float) -> bool:
        """Ends the turn if its image was taken up longer ago than that."""
        with self._lock:
            self._over = bool(self._begun) and time.monotonic() >= self._begun + seconds
            return self._over


@dataclasses.dataclass(kw_only=True)
class Decoder:
    """Turns image references into pixels.

    Attributes:
      preprocessing: bytes to pixels.
      roots: folders below which local images must lie.
      batch_size: images that are wanted at once; twice as many are decoded ahead.
      ways: to work, of which the fastest is found; the usual one first.
      bytes_ahead: of files that are read and not yet decoded; two files a thread at least.
      timeout_seconds: for one image; a decoder that exceeds it is given up.
      limits: of decoding.
      with_brightness: measure it, which takes as long as a hundredth of decoding and encoding.
      clock: where the stages' seconds are counted.
    """

    preprocessing: Preprocessing
    roots: Sequence[str]
    batch_size: int = 32
    ways: Sequence[Way] = (USUAL,)
    bytes_ahead: int = BYTES_AHEAD
    timeout_seconds: float = 60.0
    limits: ImageLimits = DEFAULT_LIMITS
    with_brightness: bool = False
    clock: StageClock = dataclasses.field(default_factory=StageClock)

    def __post_init__(self) -> None:
        self.tuning = Tuning(self.ways)
        self._pools: dict[int, concurrent.futures.ThreadPoolExecutor] = {}
        self._files = Readahead(self.roots, self.limits.max_bytes, self.bytes_ahead)

    def close(self) -> None:
        """Lets the threads go."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        self._files.close()

    def decode(self, references: Sequence[ImageReference]) -> Iterator[EncodedImage | DeadLetter]:
        """Reads and decodes in threads, in order, a bounded number ahead; yields pixels without vectors."""
        window: collections.deque[Turn] = collections.deque()
        files, left = self._files.read(references), len(references)
        while True:
            while left and self._has_room(window):
                turn = self._next_turn(files, left)
                left -= len(turn.files)
                window.append(turn)
            if not window:
                return
            yield from self._finish(window)

    def _has_room(self, window: Sequence[Turn]) -> bool:
        way = self.tuning.way
        ahead = sum(len(turn.files) for turn in window)
        if ahead >= way.ahead + 2 * self.batch_size:
            return False
        return ahead < 2 * way.threads or self._files.has_room

    def _next_turn(self, files: Iterator[BegunFile], left: int) -> Turn:
        """Begins a turn; the last ones of a shard are short, so that no thread has one while the others have none."""
        way = self.tuning.way
        wanted = max(1, min(way.images, left // (2 * way.threads)))
        taken = [next(files)]
        while len(taken) < wanted and self._files.has_room:
            taken.append(next(files))
        return self._submit(taken, way)

    def _submit(self, files: Sequence[BegunFile], way: Way) -> Turn:
        turn = Turn(files, way)
        if way.threads not in self._pools:
            pool = concurrent.futures.ThreadPoolExecutor(way.threads, thread_name_prefix="decode")
            self._pools[way.threads] = pool
        turn.future = self._pools[way.threads].submit(self._work, turn)
        return turn

    def _finish(self, window: collections.deque[Turn]) -> Iterator[EncodedImage | DeadLetter]:
        """Waits for the first turn and yields what became of its images, as long as none of them takes too long."""
        turn = window.popleft()
        while True:
            try:
                turn.future.result(max(0.0, turn.seconds_left(self.timeout_seconds)))
            except concurrent.futures.TimeoutError:
                if turn.future.done():
                    raise  # of the work itself
                if turn.give_up(self.timeout_seconds):
                    yield from self._give_up(turn, window)
                    return
            else:
                self.tuning.add(turn.way, len(turn.files), turn.worked, turn.seconds)
                yield from turn.outcomes
                return

    def _give_up(self, turn: Turn, window: collections.deque[Turn]) -> Iterator[EncodedImage | DeadLetter]:
        """Leaves a thread that cannot be stopped to itself; its other images, and all that wait, go to fresh ones."""
        place, outcomes = turn.position, list(turn.outcomes)
        for pool in self._pools.values():
            pool.shutdown(wait=False)
        self._pools = {}
        self._files.replace_stuck_threads()
        for number, waiting in enumerate(window):
            if waiting.future.cancel():
                window[number] = self._submit(waiting.files, waiting.way)
        unread = turn.files[max(place + 1, len(outcomes)) :]
        if unread:
            window.appendleft(self._submit(unread, turn.way))
        stage = "decode" if place >= len(outcomes) else "encode"
        error = ImageError(ErrorClass.TIMEOUT, f"not {stage}d within {self.timeout_seconds:g} s", "TimeoutError")
        letter = DeadLetter(reference=turn.files[place].reference, sha256="", stage=stage, error=error)
        yield from (*outcomes[:place], letter, *outcomes[place + 1 :])

    def _work(self, turn: Turn) -> None:
        """Decodes the images of a turn."""
        for position, file in enumerate(turn.files):
            if not turn.begin(position):
                return
            turn.outcomes.append(self._decode(file, turn))

    def _decode(self, file: BegunFile, turn: Turn) -> EncodedImage | DeadLetter:
        reference = file.reference
        stage, sha256 = "list", ""
        try:
            reference.raise_problem()
            stage = "read"
            data, seconds = file.wait()
            clock = time.perf_counter()
            sha256 = hashlib.sha256(data).hexdigest()
            self.clock.add("read", clock - seconds)
            stage = "decode"
            decoding = time.perf_counter()
            image = decode_image(data, self.preprocessing, self.limits)
            self.clock.add("decode", decoding)
            turn.worked, turn.seconds = turn.worked + 1, turn.seconds + time.perf_counter() - clock
        except ImageError as error:
            return DeadLetter(reference=reference, sha256=sha256, stage=stage, error=error)
        except MemoryError as error:
            failure = ImageError(ErrorClass.OUT_OF_MEMORY, f"out of memory: {error}", "MemoryError")
            return DeadLetter(reference=reference, sha256=sha256, stage=stage, error=failure)
        finally:
            file.close()
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

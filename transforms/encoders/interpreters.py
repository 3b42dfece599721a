"""Single-thread interpreters that many threads share: each call of a network sees one image."""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
from collections.abc import Callable, Iterator

import numpy as np

from transforms.encoders.encoder import Pixels, Vectors, check_pixels
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import EncoderError
from transforms.machine.cores import usable_cores

Interpret = Callable[[Pixels], Vectors]
"""``uint8[1, height, width, 3]`` to ``float32[1, D]``, by one thread at a time."""


class InterpretedEncoder:
    """Deals the images of a batch to interpreters, one for each core.

    One image a call keeps the activations in the core's cache, which is worth a quarter of the speed of large
    batches, and makes a vector independent of the images beside it.

    Args:
      specification: of the encoder.
      new_interpreter: makes one more.
      threads: that compute at once; by default the cores that this process may use.
      network_bytes: that an interpreter takes.

    Raises:
      EncoderError: the network does not give the vectors that the specification promises.
    """

    def __init__(
        self,
        specification: EncoderSpecification,
        new_interpreter: Callable[[], Interpret],
        threads: int | None = None,
        network_bytes: int = 0,
    ) -> None:
        self.specification = specification
        self.network_bytes = network_bytes
        self._new = new_interpreter
        self._idle: queue.SimpleQueue[Interpret] = queue.SimpleQueue()
        self._threads = threads or usable_cores()
        self._pool = concurrent.futures.ThreadPoolExecutor(self._threads, thread_name_prefix="encode")
        size = specification.preprocessing
        vectors = self._one(np.zeros((size.height, size.width, 3), np.uint8))
        if vectors.shape != (specification.dimension,) or vectors.dtype != np.float32:
            raise EncoderError(
                f"{specification.source} gives {vectors.dtype}{list(vectors.shape)} by {specification.engine}, "
                f"expected float32[{specification.dimension}]"
            )

    def encode(self, pixels: Pixels) -> Vectors:
        """uint8[B, height, width, 3], RGB, any B, to float32[B, dimension].

        Raises:
          EncoderError: another shape or type.
        """
        check_pixels(pixels, self.specification)
        vectors = np.empty((len(pixels), self.specification.dimension), np.float32)
        if len(pixels) == 1:
            vectors[0] = self._one(pixels[0])
        elif len(pixels):
            for position, vector in enumerate(self._pool.map(self._one, pixels)):
                vectors[position] = vector
        return vectors

    def _one(self, image: Pixels) -> Vectors:
        with self._interpreter() as interpret:
            return interpret(image[np.newaxis])[0]

    @contextlib.contextmanager
    def _interpreter(self) -> Iterator[Interpret]:
        """Lends an idle interpreter, or a new one when there is none."""
        try:
            interpret = self._idle.get_nowait()
        except queue.Empty:
            interpret = self._new()
        try:
            yield interpret
        finally:
            self._idle.put(interpret)

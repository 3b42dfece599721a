"""Batches of pixels, augmented in threads while the network trains."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipelines.training.network_settings import NO_AUGMENTATION
from transforms.images.augment import augment

_AHEAD = 3  # batches that are made before they are wanted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batches:
    """What one epoch goes through.

    Attributes:
      array: ``uint8[N, height, width, 3]``, of all images.
      size: images a batch.
      augment: policy, or ``none``.
      seed: of order and augmentation; each epoch has its own, whatever was before it.
      threads: that augment.
    """

    array: npt.NDArray[np.uint8]
    size: int
    augment: str
    seed: int
    threads: int

    def order(self, count: int, epoch: int) -> npt.NDArray[np.int64]:
        """Returns positions ``int[steps, size]`` of ``count`` examples, shuffled; the last batch is filled up."""
        shuffled = np.random.default_rng([self.seed, epoch]).permutation(count)
        return np.resize(shuffled, (self.steps(count), min(self.size, count)))

    def steps(self, count: int) -> int:
        """Returns how many steps an epoch of ``count`` examples has."""
        return -(-count // min(self.size, count))

    def read(self, rows: npt.NDArray[np.int64], epoch: int, first_step: int = 0) -> Iterator[npt.NDArray[np.uint8]]:
        """Yields ``uint8[size, height, width, 3]`` for each step from ``first_step`` on.

        Args:
          rows: of ``array``, ``int[steps, size]``.
          epoch: seeds the augmentation.
          first_step: steps before it are left out.
        """
        with concurrent.futures.ThreadPoolExecutor(self.threads, thread_name_prefix="augment") as pool:
            waiting: collections.deque[list[concurrent.futures.Future[npt.NDArray[np.uint8]]]] = collections.deque()
            for batch in rows[first_step:].tolist():
                waiting.append([pool.submit(self._image, row, epoch) for row in batch])
                if len(waiting) > _AHEAD:
                    yield np.stack([future.result() for future in waiting.popleft()])
            for futures in waiting:
                yield np.stack([future.result() for future in futures])

    def _image(self, row: int, epoch: int) -> npt.NDArray[np.uint8]:
        pixels = self.array[row]
        if self.augment == NO_AUGMENTATION:
            return pixels
        return augment(pixels, self.augment, f"{self.seed}/{epoch}/{row}")

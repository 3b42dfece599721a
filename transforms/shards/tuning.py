"""How many threads work on a shard, and how many images each takes in turn: tried out on the first real images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

IMAGES_IN_TURN = (16, 32, 8)
"""That a thread decodes one after the other before it encodes them, so that what either needs stays in the caches."""

TURNS = 4
"""Of each thread in a trial, so that what is still at work when the next begins counts little."""

LEAST_IMAGES = 4
"""Of a turn that counts; those at a shard's end are shorter."""

TRIALS = 2
"""Of each way, in turn with the others."""

GAIN = 0.03
"""By which a way must be faster than the usual one to be taken; less is chance."""

SHARE_OF_MEMORY = 1 / 8
"""Of what the process may use: at most for decoded images, and at most for the threads' networks."""


class Way(NamedTuple):
    """A way to work.

    Attributes:
      threads: that decode, and encode where a call takes one image.
      images: that each takes in turn.
    """

    threads: int
    images: int

    @property
    def ahead(self) -> int:
        """Images that are held for every thread to have a turn at work and a turn waiting."""
        return 2 * self.threads * self.images


USUAL = Way(2, IMAGES_IN_TURN[0])


def ways_to_try(
    threads: Sequence[int], images: Sequence[int], memory: float, image_bytes: int, network_bytes: int = 0
) -> list[Way]:
    """Returns the ways that memory allows, the usual one first; at least one.

    Args:
      threads: numbers of them, the usual one first.
      images: in turn, the usual number first.
      memory: bytes that this process may use.
      image_bytes: of a decoded image.
      network_bytes: of a thread's own network; 0 where all share one.
    """
    room = memory * SHARE_OF_MEMORY
    most = max(1, int(room / network_bytes)) if network_bytes else max(threads)
    ways = [Way(min(count, most), number) for number in images for count in threads]
    fitting = [way for way in ways if way.ahead * image_bytes <= room]
    return list(dict.fromkeys(fitting)) or [Way(max(1, min(most, int(room / image_bytes / 2))), 1)]


class Tuning:
    """Deals out the ways, each in turn, and settles for the fastest; what is done meanwhile is real work.

    Args:
      ways: the usual one first.
    """

    def __init__(self, ways: Sequence[Way]) -> None:
        self.way = self._usual = ways[0]
        self._plan = list(ways) * TRIALS if len(ways) > 1 else []
        self._turns = 0
        self._paces: dict[Way, list[float]] = {way: [] for way in ways}

    @property
    def settled(self) -> bool:
        """Whether the way stays what it is."""
        return not self._plan

    def add(self, way: Way, images: int, worked: int, seconds: float) -> None:
        """Counts a turn that is done.

        Args:
          way: in which it was done.
          images: of it.
          worked: images of it that took all the work; a turn with others, failed or known, says nothing of the way.
          seconds: in which its thread decoded and encoded.
        """
        if self.settled or images < LEAST_IMAGES:
            return
        if worked == images:
            self._paces[way].append(seconds / images / way.threads)
        self._turns += way == self.way
        if self._turns >= TURNS * way.threads:
            self._turns, self._plan = 0, self._plan[1:]
            self.way = self._plan[0] if self._plan else self._fastest()

    def _fastest(self) -> Way:
        """Returns the way with the fewest seconds an image, all its threads at work; the usual one where few tell."""
        told = {way: paces for way, paces in self._paces.items() if len(paces) >= TURNS}
        mean = {way: sum(paces) / len(paces) for way, paces in told.items()}
        fastest = min(mean, key=lambda way: mean[way], default=self._usual)
        usual = mean.get(self._usual, 0.0)
        return fastest if mean.get(fastest, 0.0) < usual * (1 - GAIN) else self._usual

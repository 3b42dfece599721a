"""How the learning rate moves from pass to pass, and when training stops."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from transforms.model.head import Array

CONSTANT, COSINE, PLATEAU, ANNEAL = "constant", "cosine", "plateau", "anneal"
SCHEDULES = (CONSTANT, COSINE, PLATEAU, ANNEAL)

CUT = {PLATEAU: 0.3, ANNEAL: 0.4}
"""What the rate is multiplied by after a pass that lowered the loss by less than GAIN."""

GAIN = {PLATEAU: 1e-4, ANNEAL: 0.05}
"""Share of the held-out loss; of ``anneal``, which begins high, in proportion to what is left of the rate."""

LEAST = {PLATEAU: 0.05, ANNEAL: 0.01}
"""Training stops when the rate would fall below this share of the first one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """The rule; plain data.

    Attributes:
      name: one of SCHEDULES: ``cosine`` falls to zero over all passes, ``anneal`` after the first pass and the faster
        the less a pass gains.
      epochs: passes, at most.
      patience: passes in a row without a lower held-out loss after which a head is done.
    """

    name: str = CONSTANT
    epochs: int = 100
    patience: int = 5

    def start(self, heads: int) -> Course:
        """Returns the course of ``heads`` heads that are trained side by side."""
        return Course(self, heads)


class Course:
    """Where the training of each head stands.

    Attributes:
      passes: that were made.
      losses: ``float64[M]``, least held-out loss of each head so far.
      best: ``int64[M]``, the pass that had it.
    """

    def __init__(self, schedule: Schedule, heads: int) -> None:
        self._schedule = schedule
        self.passes = 0
        self.losses = np.full(heads, np.inf)
        self.best = np.zeros(heads, np.int64)
        self._stale = np.zeros(heads, np.int64)
        self._factors = np.ones(heads)

    @property
    def factors(self) -> Array:
        """What the learning rate of each head is multiplied by in the next pass, ``float32[M]``."""
        if self._schedule.name == COSINE:
            share = (1 + math.cos(math.pi * self.passes / self._schedule.epochs)) / 2
            return np.full(len(self.losses), share, np.float32)
        return self._factors.astype(np.float32)

    @property
    def going(self) -> npt.NDArray[np.bool_]:
        """The heads that are not done: a head that is done stays so."""
        done = (self._stale >= self._schedule.patience) | (self._factors < LEAST.get(self._schedule.name, 0))
        return ~done & (self.passes < self._schedule.epochs)

    @property
    def finished(self) -> bool:
        """Whether no head has anything to gain."""
        return not self.going.any()

    def see(self, losses: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Takes the held-out losses after a pass; returns the heads for which it is the best so far."""
        better = self.going & (losses < self.losses)
        self.passes += 1
        name = self._schedule.name
        if name in CUT:
            before = losses if name == ANNEAL and self.passes == 1 else self.losses
            least = GAIN[name] * self._factors if name == ANNEAL else GAIN[name]
            self._factors[~(losses < before * (1 - least))] *= CUT[name]
        self._stale = np.where(better, 0, self._stale + 1)
        self.losses = np.where(better, losses, self.losses)
        self.best = np.where(better, self.passes, self.best)
        return better

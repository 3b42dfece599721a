"""Which split an image belongs to: by hash of its group, else of its content, never of its path."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from transforms.errors import OptionError
from transforms.sources.reference import SPLITS


class SplitRatios(NamedTuple):
    """Shares of train, validation and test; they add up to 1."""

    train: float
    validation: float
    test: float

    @classmethod
    def parse(cls, text: str) -> SplitRatios:
        """Reads ``80/10/10`` (or ``80/20``: no validation split).

        Raises:
          OptionError: for anything but two or three numbers, none negative, that add up to 100.
        """
        try:
            numbers = [float(part) for part in text.split("/")]
        except ValueError:
            numbers = []
        if len(numbers) == 2:
            numbers.insert(1, 0.0)
        if len(numbers) != 3 or not all(0 <= n <= 100 for n in numbers) or abs(sum(numbers) - 100) > 1e-6:
            raise OptionError(f"--split must be percentages that add up to 100, such as 80/10/10, got {text!r}")
        return cls(*(number / 100 for number in numbers))

    def assign(self, key: str) -> str:
        """Returns the split of a group or content: the same key always falls into the same one."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        position = int.from_bytes(digest[:8], "big") / 2**64
        if position < self.train:
            return SPLITS[0]
        if position < self.train + self.validation:
            return SPLITS[1]
        return SPLITS[2] if self.test > 0 else SPLITS[0]

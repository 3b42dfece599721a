"""Two answers compared: rows by their key, and JSON by its places; the first differences are named."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

Row = Mapping[str, Any]

SAME, DIFFERENT, NOT_TOLD = "same", "DIFFERENT", "not told by the runner"
"""Verdicts."""
SHOWN = 3
"""Differences of a comparison that are named."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison.

    Attributes:
      step: of the flow.
      what: was compared, and how exactly.
      differences: a line each, at most SHOWN; none when all is the same.
      further: differences that are not shown.
      told: whether the runner told it at all.
    """

    step: str
    what: str
    differences: tuple[str, ...] = ()
    further: int = 0
    told: bool = True

    @classmethod
    def of(cls, step: str, what: str, differences: Iterator[str]) -> Check:
        """Returns the check for what a comparison yields."""
        found = list(differences)
        return cls(step=step, what=what, differences=tuple(found[:SHOWN]), further=len(found[SHOWN:]))

    @property
    def verdict(self) -> str:
        """One of SAME, DIFFERENT and NOT_TOLD."""
        return DIFFERENT if self.differences else SAME if self.told else NOT_TOLD

    def to_json(self) -> dict[str, Any]:
        """The fields, with the verdict."""
        return {**dataclasses.asdict(self), "verdict": self.verdict}


def row_differences(
    expected: Sequence[Row],
    found: Sequence[Row],
    *,
    key: str,
    ignored: Collection[str] = (),
    close: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[str]:
    """Yields what is missing, too much, there twice, or has another value.

    Args:
      expected: rows; a column that an expected row lacks is not compared.
      found: rows, in any order.
      key: column that names a row for a person, and tells it from the others.
      ignored: columns that differ from run to run.
      close: columns of floats, or of lists of floats, to the largest difference allowed: absolute, or relative to the
        largest value of the expected ones where that is above 1.
    """
    wanted, got = (collections.Counter(row[key] for row in rows) for rows in (expected, found))
    for name in sorted(set(wanted) | set(got)):
        if wanted[name] != got[name]:
            yield f"{name} is there {_times(got[name])}, expected {_times(wanted[name])}"
    by_key = {row[key]: row for row in found}
    for row in sorted((row for row in expected if row[key] in by_key), key=lambda row: str(row[key])):
        other = by_key[row[key]]
        for column in (name for name in row if name not in ignored):
            tolerance = close.get(column, 0.0)
            for place, first, second in _leaves(column, row[column], other.get(column, _ABSENT)):
                if not _same(first, second, tolerance):
                    yield f"{row[key]}: {place} is {second!r}, expected {first!r}"
                    break


def json_differences(expected: Any, found: Any, tolerance: float, ignored: Collection[str] = ()) -> Iterator[str]:
    """Yields the places with another value.

    Args:
      expected: of JSON's types.
      found: likewise.
      tolerance: of floats, absolute, or relative to the expected one where that is above 1; all else must be equal.
      ignored: keys of the outermost object.
    """
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        expected, found = ({k: v for k, v in side.items() if k not in ignored} for side in (expected, found))
    for place, first, second in _leaves("", expected, found):
        if not _same(first, second, tolerance):
            yield f"{place} is {second!r}, expected {first!r}"


def _times(count: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")


_ABSENT = "(absent)"


def _leaves(place: str, first: Any, second: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yields pairs of values without parts, with their place; lists of floats are one value."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in [*first, *(name for name in second if name not in first)]:
            inner = f"{place}.{name}" if place else str(name)
            yield from _leaves(inner, first.get(name, _ABSENT), second.get(name, _ABSENT))
    elif _is_list(first) and _is_list(second) and len(first) == len(second) and not _is_vector(first):
        for number, (one, other) in enumerate(zip(first, second, strict=True)):
            yield from _leaves(f"{place}[{number}]", one, other)
    else:
        yield place, first, second


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_vector(value: Sequence[Any]) -> bool:
    return bool(value) and all(isinstance(one, float) for one in value)


def _same(first: Any, second: Any, tolerance: float) -> bool:
    if _is_list(first) and _is_list(second):
        largest = max([1.0, *(abs(one) for one in first if isinstance(one, float) and math.isfinite(one))])
        pairs = zip(first, second, strict=False)
        return len(first) == len(second) and all(_close(one, other, tolerance * largest) for one, other in pairs)
    return _close(first, second, tolerance * max(1.0, abs(first)) if isinstance(first, float) else 0.0)


def _close(first: Any, second: Any, tolerance: float) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        both_nan = math.isnan(first) and math.isnan(second)
        return first == second or both_nan or abs(first - second) <= tolerance
    return type(first) is type(second) and first == second

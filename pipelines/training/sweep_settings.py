"""What ``--sweep`` tries: the flags, and the configurations that they mean."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.training.fit_settings import FitSettings, hidden_units
from transforms.errors import OptionError

GRID, RANDOM = "grid", "random"
LOSS, ACCURACY, BALANCED = "loss", "accuracy", "balanced-accuracy"
MEASURES = (LOSS, ACCURACY, BALANCED)
MOST = 1000
"""Configurations of one sweep."""

_RANGE = ".."
SWEPT: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "l2-regularizer": (("0.3", "0.1", "0.03", "0.01", "0.003"), ("0.0001..1",)),
    "dropout-rate": (("0", "0.5"), ("0", "0.25", "0.5")),
    "hidden-units": (("0", "64"), ("0", "32", "64", "128")),
    "learning-rate": (("0.001",), ("0.0003..0.003",)),
    "class-weights": (("none", "balanced"), ("none", "balanced")),
}
"""What is tried by default in a grid, and at random."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """A search over settings of a head.

    Attributes:
      search: ``grid`` for all combinations, ``random`` for some of them.
      values: of each name of SWEPT that is not left to its default; ``A..B`` is a range.
      configurations: that a random search draws.
      folds: of the training split that are held out in turn; 0 measures on the validation split.
      measure: one of MEASURES.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """

    search: str
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    configurations: int = 50
    folds: int = 5
    measure: str = LOSS

    def __post_init__(self) -> None:
        if not 1 <= self.configurations <= MOST:
            raise OptionError(f"--sweep-configurations must be in [1, {MOST}], got {self.configurations}")
        if self.folds == 1 or not 0 <= self.folds <= 20:
            raise OptionError(f"--sweep-folds must be 0 (the validation split) or in [2, 20], got {self.folds}")
        names = [name for name, _ in self.values]
        if len(set(names)) < len(names):
            raise OptionError(f"--sweep-values names {max(names, key=names.count)} twice; give all its values at once")

    def configure(self, base: FitSettings) -> list[FitSettings]:
        """Returns the settings to try; what ``base`` says by a flag of its own is not searched.

        Raises:
          OptionError: a name that is none, a value that cannot be, a flag that fixes what is searched, nothing
            to search, or too many combinations.
        """
        wanted = self._wanted(base)
        if self.search == GRID:
            count = math.prod(len(texts) for texts in wanted.values())
            if count > MOST:
                raise OptionError(
                    f"--sweep grid has {count} combinations, at most {MOST} are tried; use --sweep random"
                )
            chosen: list[tuple[Any, ...]] = list(
                itertools.product(*([_value(name, text) for text in texts] for name, texts in wanted.items()))
            )
        else:
            generator = np.random.default_rng(base.seed)
            chosen = [
                tuple(_draw(name, texts, generator) for name, texts in wanted.items())
                for _ in range(self.configurations)
            ]
        fields = [name.replace("-", "_") for name in wanted]
        unique = dict.fromkeys(chosen)
        return [dataclasses.replace(base, **dict(zip(fields, values, strict=True))) for values in unique]

    def _wanted(self, base: FitSettings) -> dict[str, tuple[str, ...]]:
        given = dict(self.values)
        unknown = [name for name in given if name not in SWEPT]
        if unknown:
            raise OptionError(f"--sweep-values: {unknown[0]!r} is not searched; there are {', '.join(SWEPT)}")
        wanted = {}
        for name, defaults in SWEPT.items():
            field = name.replace("-", "_")
            fixed = getattr(base, field) != getattr(FitSettings(), field)
            if fixed and name in given:
                raise OptionError(f"--{name} fixes what --sweep-values {name}= searches; leave one of the two out")
            if not fixed:
                wanted[name] = given.get(name, defaults[self.search == RANDOM])
            for text in wanted.get(name, ()):
                if self.search == GRID and _RANGE in text:
                    raise OptionError(f"--sweep grid takes values, not the range {name}={text}; use --sweep random")
        if not wanted:
            raise OptionError("--sweep has nothing to search: every setting is fixed by its own flag; leave one out")
        return wanted


def add_sweep_flags(parser: argparse.ArgumentParser) -> None:
    """Adds ``--sweep`` and what belongs to it."""
    parser.add_argument("--sweep", choices=(GRID, RANDOM), help="search over settings of the head, then fit the best")
    parser.add_argument(
        "--sweep-values",
        action="append",
        metavar="NAME=V,…",
        help=f"what to try of one of {', '.join(SWEPT)}; hidden layers as 128x64, 0 for none; ranges as 0.001..1 "
        "(random only); may be given several times. A setting that has a flag of its own in the call is kept",
    )
    parser.add_argument("--sweep-configurations", type=int, metavar="N", help="drawn by a random search (default: 50)")
    parser.add_argument(
        "--sweep-folds", type=int, metavar="K", help="parts held out in turn (default: 5); 0: the validation split"
    )
    parser.add_argument("--sweep-measure", choices=MEASURES, help=f"what the best is best in (default: {LOSS})")


def sweep_settings(flags: argparse.Namespace) -> SweepSettings | None:
    """Returns the search that the flags name, None for none.

    Raises:
      OptionError: a flag of the sweep without it, or a value that cannot be.
    """
    given = {
        field: getattr(flags, f"sweep_{field}")
        for field in ("values", "configurations", "folds", "measure")
        if getattr(flags, f"sweep_{field}") is not None
    }
    if flags.sweep is None:
        if given:
            raise OptionError(f"--sweep-{next(iter(given))} needs --sweep grid or --sweep random")
        return None
    if flags.sweep == GRID and "configurations" in given:
        raise OptionError("--sweep-configurations belongs to --sweep random; a grid tries all combinations")
    if "values" in given:
        given["values"] = tuple(map(_parse_values, given["values"]))
    return SweepSettings(search=flags.sweep, **given)


def sweep_arguments(settings: SweepSettings | None) -> list[str]:
    """Returns the flags of a sweep, the inverse of sweep_settings."""
    if settings is None:
        return []
    words = ["--sweep", settings.search]
    for name, texts in settings.values:
        words += ["--sweep-values", f"{name}={','.join(texts)}"]
    for field in ("configurations", "folds", "measure"):
        if getattr(settings, field) != getattr(SweepSettings(search=GRID), field):
            words += [f"--sweep-{field}", str(getattr(settings, field))]
    return words


def _parse_values(text: str) -> tuple[str, tuple[str, ...]]:
    name, equals, values = text.partition("=")
    texts = tuple(part.strip() for part in values.split(",") if part.strip())
    if not equals or not texts:
        raise OptionError(f"--sweep-values must be NAME=VALUE,…, such as l2-regularizer=0.1,0.01, got {text!r}")
    return name.strip(), texts


def _value(name: str, text: str) -> Any:
    if name == "class-weights":
        if text not in ("none", "balanced"):
            raise OptionError(f"--sweep-values: class-weights can be none or balanced, got {text!r}")
        return text
    if name == "hidden-units":
        return hidden_units("" if text == "0" else text.replace("x", ","))
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"--sweep-values: {name} must be numbers, got {text!r}") from None


def _draw(name: str, texts: tuple[str, ...], generator: np.random.Generator) -> Any:
    """One of the values; from a range, evenly on a logarithmic scale."""
    text = texts[generator.integers(len(texts))]
    if _RANGE not in text:
        return _value(name, text)
    low, high = (_value(name, part) for part in text.split(_RANGE, 1))
    if not (isinstance(low, float) and 0 < low < high):
        raise OptionError(f"--sweep-values: a range of {name} must be LOW..HIGH with 0 < LOW < HIGH, got {text!r}")
    return float(f"{math.exp(generator.uniform(math.log(low), math.log(high))):.3g}")

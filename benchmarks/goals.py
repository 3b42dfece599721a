"""The goals, as ratios within one run, and what was measured of each."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.jobs import OURS, PEERS, RECOMMENDED, SAME
from benchmarks.photographs import LARGE, SMALL

Figures = Mapping[str, Any]
FLOAT32 = "litert float32"
RATE = "images_per_second"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goal:
    """What is to be reached.

    Attributes:
      what: is compared.
      least: the goal; the most, where less is better.
      values: of each round; none where it was not measured.
      less: is better.
      digits: behind the point.
      unit: behind the number.
    """

    what: str
    least: float
    values: Sequence[float]
    less: bool = False
    digits: int = 2
    unit: str = ""

    @property
    def median(self) -> float:
        """Returns the figure that counts."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool:
        """Tells whether the median reaches the goal."""
        return self.median <= self.least if self.less else self.median >= self.least

    def cells(self) -> list[str]:
        """Returns the row of the table."""
        goal = f"{'≤' if self.less else '≥'} {number(self.least, self.digits)}{self.unit}"
        if not self.values:
            return [self.what, goal, "not measured", ""]
        verdict = "met" if self.is_met else f"not met: {self.median / self.least - 1:+.0%}"
        return [self.what, goal, spread(self.values, self.digits) + self.unit, verdict]


def number(value: float, digits: int) -> str:
    """Returns a number as the page has it; infinite is what was never reached."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "never"


def spread(values: Sequence[float], digits: int) -> str:
    """Returns the median, with the least and the most where they differ."""
    median, low, high = (number(value, digits) for value in (statistics.median(values), min(values), max(values)))
    return median if low == high else f"{median} ({low}–{high})"


def column(figures: Figures, step: str, name: str, key: str) -> list[float]:
    """Returns a figure of each round; none of what was not run."""
    return [float(row[key]) for row in figures.get(step, {}).get(name, ()) if row.get(key) is not None]


def ratios(left: Iterable[float], right: Iterable[float]) -> list[float]:
    """Returns the quotients, round by round."""
    return [a / b for a, b in zip(left, right, strict=False) if b]


def limits(figures: Figures, engine: str) -> list[float]:
    """Returns cores ÷ (seconds to decode an image + seconds to encode it, each on one core), round by round."""
    decoded = column(figures, "parts", f"decode {SMALL}", "images_per_second")
    encoded = column(figures, "parts", f"network {engine} on 1", "images_per_second")
    cores = figures["about"]["cores"]
    return [cores / (1 / a + 1 / b) for a, b in zip(decoded, encoded, strict=False)]


def job(figures: Figures, name: str, key: str) -> list[float]:
    """Returns a figure of a job."""
    return column(figures, "jobs", name, key)


def goals(figures: Figures) -> list[Goal]:
    """Returns all of them, in the order of the page."""
    return [*_speed(figures), *_precisions(figures), *_rest(figures)]


def _speed(figures: Figures) -> list[Goal]:
    steady, started = job(figures, FLOAT32, "steady"), job(figures, FLOAT32, "with_start")
    auto = job(figures, f"{figures['about']['auto']} float32", "with_start")
    beam = f"Beam RunInference, {RECOMMENDED}"
    loop = column(figures, "parts", f"loop {FLOAT32}", "images_per_second")
    found = [
        _goal(f"{FLOAT32}, steady, of the limit", 0.92, ratios(steady, limits(figures, FLOAT32))),
        _goal(f"{FLOAT32}, steady, of the loop without Beam", 0.98, ratios(steady, loop)),
    ]
    for peer, least in (("Daft", 1.2), ("Ray Data", 1.6)):
        what = f"{FLOAT32}, start included, against {peer} with the same network"
        values = ratios(started, job(figures, f"{peer}, {SAME}", "with_start"))
        found.append(_goal(what, least, values))
    for peer in PEERS:
        what = f"as installed, start included, against {peer} as documented"
        values = ratios(auto, job(figures, f"{peer}, {RECOMMENDED}", "with_start"))
        found.append(_goal(what, 5 if peer.startswith("Beam") else 2, values))
    memory = ratios(job(figures, beam, "peak_mb"), job(figures, FLOAT32, "peak_mb"))
    return [
        *found,
        _goal(f"memory of Beam RunInference as documented, of that of {FLOAT32}", 8, memory),
    ]


def _precisions(figures: Figures) -> list[Goal]:
    found = []
    base = job(figures, FLOAT32, "with_start")
    for name, speed, cosine in (("openvino bfloat16", 1.6, 0.998), ("litert int8", 1.8, 0.99)):
        values = ratios(job(figures, name, "with_start"), base)
        found.append(_goal(f"{name}, start included, against {FLOAT32}", speed, values))
        means = job(figures, name, "cosine")
        found.append(_goal(f"{name}, mean cosine to {FLOAT32}", cosine, means, digits=4))
    return found


def _rest(figures: Figures) -> list[Goal]:
    large = ratios(column(figures, "large", "scaled", "steady"), column(figures, "large", "in full", "steady"))
    cosines = column(figures, "large", "cosine", "mean")
    growth = column(figures, "growth", "small encoder", "peak_mb")
    embedding = statistics.median(job(figures, FLOAT32, "steady") or [float("nan")])
    scoring = [value / embedding for value in column(figures, "stored", "scoring", "rows_per_second")]
    ours = column(figures, "heads", "heliograph", "seconds")
    ways = {"scikit-learn": ("scikit-learn", 4), "PyTorch": ("torch", 2.5), "Keras fit": ("keras", 2.5)}
    heads = [
        _goal(f"fitting the head, against {name}", least, ratios(column(figures, "heads", way, "seconds"), ours))
        for name, (way, least) in ways.items()
    ]
    auto = f"{figures['about']['auto']} float32"
    matrix, whole = column(figures, "stored", "vectors", "of_np_load"), column(figures, "overhead", "pipeline", RATE)
    grown = growth and [growth[-1] / growth[0]]
    return [
        _goal(f"{LARGE}, against decoding in full, the whole job", 3.5, large),
        _goal(f"{LARGE}, mean cosine to decoding in full", 0.999, cosines, digits=4),
        _goal("peak memory", 500, job(figures, FLOAT32, "peak_mb"), less=True, digits=0, unit=" MB"),
        _goal("peak memory at the most images, of that at the fewest", 1.1, grown, less=True),
        _goal("the pipeline alone, images a second", 20_000, whole, digits=0),
        *heads,
        _goal("store to matrix, of the speed of np.load", 0.2, matrix),
        _goal("scoring stored features, against embedding again", 300, scoring, digits=0),
        _goal("start to the first images", 2.5, job(figures, auto, "first_seconds"), less=True, unit=" s"),
    ]


def _goal(what: str, least: float, values: Sequence[float], **more: Any) -> Goal:
    return Goal(what=what, least=least, values=values, **more)


def group_of(name: str) -> str:
    """Returns whose job a name is."""
    return next((group for group in (SAME, RECOMMENDED) if name.endswith(f", {group}")), OURS)

"""Which engine computes a network the fastest on this machine: timed once, and kept beside the converted network.

```
CACHE/<digest>/seconds.json   {"where": processor and versions, "seconds": {engine: of a call with one image}}
```
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import time
from collections.abc import Sequence

from transforms.encoders.conversion import network_directory
from transforms.encoders.encoder import Encoder, Pixels
from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import forget_encoder, load_encoder
from transforms.encoders.specification import EncoderSpecification

PACKAGES = ("ai-edge-litert", "openvino")
"""Whose versions decide about the seconds."""

CALLS = 20
"""Of each engine at most, in turn; the fastest counts, since whatever else runs here only delays."""

SECONDS = 1.0
"""After which no further call is begun, however large the network is."""

GAIN = 0.03
"""By which an engine must be faster than one that stands before it."""


def fastest(candidates: Sequence[EncoderSpecification], trust_model: bool = False) -> tuple[EncoderSpecification, str]:
    """Returns the engine that computes one image on one thread in the least time, and a word on it.

    Args:
      candidates: the same encoder on several engines that are installed, the preferred one first.
      trust_model: loads models that carry code as well.
    """
    seconds = _read(candidates) or _measure(candidates, trust_model)
    first = candidates[0]
    best = min(candidates, key=lambda candidate: seconds[candidate.engine])
    ratio = seconds[first.engine] / seconds[best.engine]
    if ratio <= 1 + GAIN:
        best = first
    for candidate in candidates:
        if candidate != best:
            forget_encoder(candidate)
    if best == first:
        return first, f"no other engine here is {GAIN:.0%} faster"
    return best, f"{ratio:.2f} times as fast here as {first.engine}"


def _measure(candidates: Sequence[EncoderSpecification], trust_model: bool) -> dict[str, float]:
    image = golden_images(candidates[0])[:1]
    encoders = {candidate.engine: load_encoder(candidate, trust_model=trust_model) for candidate in candidates}
    seconds = dict.fromkeys(encoders, float("inf"))
    until = time.perf_counter() + SECONDS
    for call in range(CALLS):
        if call and time.perf_counter() > until:
            break
        for engine, encoder in encoders.items():
            seconds[engine] = min(seconds[engine], _seconds_of_call(encoder, image))
    _keep(candidates, seconds)
    return seconds


def _seconds_of_call(encoder: Encoder, image: Pixels) -> float:
    started = time.perf_counter()
    encoder.encode(image)
    return time.perf_counter() - started


def _file(candidates: Sequence[EncoderSpecification]) -> pathlib.Path:
    return network_directory(candidates[0]) / "seconds.json"


def _where() -> str:
    """Returns what the seconds hold for: the processor, and the versions of the engines."""
    name = platform.machine()
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return ", ".join([name, *(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)])


def _read(candidates: Sequence[EncoderSpecification]) -> dict[str, float] | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = json.loads(_file(candidates).read_text())
        seconds = {candidate.engine: float(kept["seconds"][candidate.engine]) for candidate in candidates}
        if kept["where"] == _where() and min(seconds.values()) > 0:
            return seconds
    return None


def _keep(candidates: Sequence[EncoderSpecification], seconds: dict[str, float]) -> None:
    path = _file(candidates)
    with contextlib.suppress(OSError):  # it is timed again the next time
        scratch = path.with_name(f".{path.name}-{os.getpid()}")
        scratch.write_text(json.dumps({"where": _where(), "seconds": seconds}))
        scratch.replace(path)

"""Everything that docs/performance.md says, side by side and in turn: `make bench`.

    python -m benchmarks.bench [--quick] [--rounds 3] [--only STEP …] [--environments .venv-peers] [--page]

Draws its images, measures, keeps the figures in benchmarks/results/performance.json after each step, and writes the
page and its chart from them; `--page` only writes these. Each round runs every way once, and begins with another one.
`--quick` is a trial of the harness on few images: its figures mean nothing and go to a directory of their own.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import jobs, measurements, page, photographs, processes
from transforms.encoders.conversion import INT8, converted_network
from transforms.encoders.engines import PRECISIONS, choose_engine
from transforms.encoders.resolve import DEFAULT, resolve_encoder
from transforms.shards.record import software_versions

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"

_Way = TypeVar("_Way")


@dataclasses.dataclass(kw_only=True)
class Bench:
    """One run of the harness.

    Attributes:
      directory: for images and what is written.
      environments: of the peers.
      rounds: how often everything is measured.
      quick: few images, for a trial.
      results: where the figures are kept.
      figures: what was measured so far.
    """

    directory: Path
    environments: Path
    rounds: int
    quick: bool
    results: Path
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)

    def count(self, images: int) -> int:
        """Returns how many images a measurement gets: a trial's are few."""
        return min(images, 48 + images // 100) if self.quick else images

    def photographs(self, size: photographs.Size, count: int, drawn: int) -> Path:
        """Draws images of a size once; returns a directory with as many as were asked for."""
        everything = self.directory / f"{size.width}x{size.height}"
        wanted = self.count(count)
        if not everything.exists():
            photographs.write(everything, size, wanted, min(drawn, wanted))
        return photographs.part(everything, wanted)

    def calibrated_store(self) -> Path:
        """Returns a store whose table in int8 has a calibration, made from photographs of its own."""
        store = self.directory / "calibrated"
        if not store.exists():
            name = "calibration"
            photos = photographs.write(self.directory / name, photographs.SMALL, 160, 160, seed=1_000_000)
            for path in photos.iterdir():
                path.rename(path.with_name(f"{name}-{path.name}"))
            measured = jobs.embed(photos, store, ["--engine", "litert", "--precision", INT8])
            self.add("jobs_before", name, {"seconds": round(measured.seconds, 1), "peak_mb": round(measured.peak_mb)})
        return store

    def in_turn(self, ways: Sequence[_Way]) -> Iterator[_Way]:
        """Yields each way once a round; every round begins with another one."""
        for number in range(self.rounds):
            shift = number * len(ways) // self.rounds
            yield from (*ways[shift:], *ways[:shift])

    def add(self, step: str, name: str, row: Mapping[str, Any]) -> None:
        """Keeps a figure of a round, and says it."""
        self.figures.setdefault(step, {}).setdefault(name, []).append(dict(row))
        print(f"{time.strftime('%H:%M:%S')} {step}: {name} {json.dumps(row)}", file=sys.stderr, flush=True)
        self.save()

    def miss(self, name: str, why: str) -> None:
        """Keeps why something was not run."""
        self.figures.setdefault("missing", {})[name] = why
        print(f"{name}: not run: {why}", file=sys.stderr, flush=True)
        self.save()

    def save(self) -> None:
        """Writes the figures."""
        self.results.parent.mkdir(parents=True, exist_ok=True)
        self.results.write_text(json.dumps(self.figures, indent=1, ensure_ascii=False) + "\n")

    def engines(self) -> list[tuple[str, str]]:
        """Returns the engines and precisions that this version has."""
        return [(engine, precision) for engine, precision in jobs.ENGINES if precision in PRECISIONS.get(engine, ())]


STEPS: dict[str, Callable[[Bench], None]] = {
    "jobs": measurements.measure_jobs,
    "large": measurements.measure_large,
    "overhead": measurements.measure_overhead,
    "stored": measurements.measure_stored,
    "growth": measurements.measure_growth,
    "profile": measurements.measure_profile,
    "heads": measurements.measure_heads,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a trial on few images; writes nothing into docs/")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS), help="the others are kept")
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-peers", help="of the peers")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", action="store_true", help="write the page from the figures, measure nothing")
    flags = parser.parse_args(argv)
    if flags.quick and flags.results == RESULTS:
        flags.results = Path(tempfile.mkdtemp(prefix="heliograph-bench-")) / RESULTS.name
    if not flags.page:
        run(flags)
    target = PAGE if flags.results == RESULTS else flags.results.with_name(PAGE.name)
    page.write(json.loads(flags.results.read_text()), target)
    print(f"figures: {flags.results}\npage: {target}")
    return 0


def run(flags: argparse.Namespace) -> None:
    """Measures the steps that were asked for; the figures of the others stay."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended; what was measured so far is kept"))
    started = time.time()
    known = json.loads(flags.results.read_text()) if flags.results.exists() else {}
    figures = {name: value for name, value in known.items() if name not in flags.only}
    directory = Path(tempfile.mkdtemp(prefix="heliograph-bench-"))
    bench = Bench(
        directory=directory,
        environments=flags.environments,
        rounds=flags.rounds,
        quick=flags.quick,
        results=flags.results,
        figures={**figures, "missing": {}, "about": {**describe(), "rounds": flags.rounds}},
    )
    try:
        converted_network(resolve_encoder(DEFAULT))  # whoever starts is to find the conversion there
        for name in flags.only:
            try:
                STEPS[name](bench)
            except processes.Failed as error:
                bench.miss(f"the rest of {name}", str(error).strip().splitlines()[-1][-200:])
            bench.figures["about"].setdefault("step_seconds", {})[name] = round(time.time() - started)
            bench.save()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def describe() -> dict[str, Any]:
    """Returns the machine and the versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.date.today().isoformat(),
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "extensions": [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if name in flags],
        "memory_gb": round(memory / 1e9),
        "system": platform.platform(terse=True),
        "load": [round(value, 1) for value in os.getloadavg()],
        "versions": software_versions(),
        "auto": choose_engine(resolve_encoder(DEFAULT)).specification.engine,
    }


if __name__ == "__main__":
    raise SystemExit(main())

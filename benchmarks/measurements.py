"""The steps of the benchmark: each measures one thing and keeps a figure a round."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import growth, jobs, photographs, processes, score_stored
from transforms.encoders.conversion import INT8, converted_network
from transforms.encoders.resolve import DEFAULT, resolve_encoder

if TYPE_CHECKING:
    from benchmarks.bench import Bench

SIZES = {photographs.SMALL: (3_000, 400), photographs.MIDDLE: (64, 24), photographs.LARGE: (128, 10)}
"""Photographs of a size, and how many of them are distinct pictures."""

OUR_IMAGES = {"litert float32": 3_000, "openvino bfloat16": 2_500, "litert int8": 2_500}
PEER_IMAGES = {(jobs.SAME, "Ray Data"): 3_000, (jobs.SAME, "Daft"): 3_000}
OTHER_IMAGES = {jobs.OURS: 1_200, jobs.SAME: 1_200, jobs.RECOMMENDED: 600}


Way = tuple[str, str, Callable[[], dict[str, Any]]]
"""A step, a name, and what measures it."""


def module(name: str, *words: str, environment: dict[str, str] | None = None, timeout: float = 600) -> Any:
    """Runs a script of this package in a process of its own; returns the JSON of its last line."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *words]
    return json.loads(processes.run(command, environment=environment, timeout=timeout).output.splitlines()[-1])


def measure_jobs(bench: Bench) -> None:
    """Each engine's parts and its job, side by side, and the peers' jobs, in turn; what fails is not run again."""
    bench.figures.pop("parts", None)
    ways = list_ways(bench)
    failed: set[tuple[str, str]] = set()
    for step, name, measure in bench.in_turn(ways):
        if (step, name) in failed:
            continue
        try:
            bench.add(step, name, measure())
        except processes.Failed as error:
            failed.add((step, name))
            bench.miss(name, str(error).strip().splitlines()[-1][-200:])


def list_ways(bench: Bench) -> list[Way]:
    """Returns what is measured in a round; what a goal compares stands side by side, since the machine drifts."""
    reference: dict[str, Any] = {}  # vectors to compare with, of the first job that is measured
    ours = [
        [*engine_parts(bench, *engine), job_way(our_job(bench, *engine), bench, reference)]
        for engine in bench.engines()
    ]
    same, documented = (
        [job_way(job, bench, reference) for job in peer_jobs(bench, group)] for group in (jobs.SAME, jobs.RECOMMENDED)
    )
    decoded = [way for size in reversed(SIZES) for way in decoding(bench, size)]
    return [*decoded, *itertools.chain(*ours[:3]), *same, *itertools.chain(*ours[3:]), *documented]


def part_way(bench: Bench, name: str, words: Sequence[str]) -> Way:
    """Returns what measures a part, in a process of its own."""
    seconds = "0.2" if bench.quick else "1.2"
    return "parts", name, lambda: module("parts", *words, "--seconds", seconds)


def job_way(job: jobs.Job, bench: Bench, reference: dict[str, Any]) -> Way:
    """Returns what measures a job."""
    name = job.name if job.group == jobs.OURS else f"{job.name}, {job.group}"
    return "jobs", name, lambda: jobs.measure(job, bench.directory, reference)


def decoding(bench: Bench, size: photographs.Size) -> list[Way]:
    """Returns decoding of a size on one core, drafted and in full."""
    photos = str(bench.photographs(size, *SIZES[size]))
    return [
        part_way(bench, f"decode {size} in full", ["decode", "--images", photos, "--exact"]),
        part_way(bench, f"decode {size}", ["decode", "--images", photos]),
    ]


def engine_parts(bench: Bench, engine: str, precision: str) -> list[Way]:
    """Returns an engine's network on one core and on all, and the loop without Beam."""
    photos = str(small(bench, SIZES[photographs.SMALL][0]))
    words = ["--engine", engine, "--precision", precision]
    words += ["--store", str(bench.calibrated_store())] if precision == INT8 else []
    ways = [
        part_way(
            bench,
            f"network {engine} {precision} on {used}",
            ["encode", "--images", photos, "--cores", str(used), *words],
        )
        for used in sorted({1, len(os.sched_getaffinity(0))})
    ]
    words += ["--images", str(small(bench, 800))]
    output = ["--output", str(bench.directory / "loop.parquet")]
    return [*ways, part_way(bench, f"loop {engine} {precision}", ["loop", *words, *output])]


def our_job(bench: Bench, engine: str, precision: str) -> jobs.Job:
    """Returns our job, with as many images as it does in some seconds."""
    images = OUR_IMAGES.get(f"{engine} {precision}", OTHER_IMAGES[jobs.OURS])
    return jobs.our_job(engine, precision, small(bench, images), bench.calibrated_store())


def peer_jobs(bench: Bench, group: str) -> list[jobs.Job]:
    """Returns the jobs of the peers that are installed."""
    if group == jobs.SAME:
        network = ["--litert", str(converted_network(resolve_encoder(DEFAULT)).path)]
    else:
        network = ["--keras", str(save_keras(bench.directory / "encoder.keras"))]
    found = []
    for name in jobs.PEERS:
        if why := jobs.why_missing(name, bench.environments):
            bench.miss(name, why)
            continue
        images = PEER_IMAGES.get((group, name), OTHER_IMAGES[group])
        found.append(jobs.peer_job(name, bench.environments, network, group, small(bench, images)))
    return found


def small(bench: Bench, images: int) -> Path:
    """Returns a directory with so many small photographs."""
    count, drawn = SIZES[photographs.SMALL]
    bench.photographs(photographs.SMALL, count, drawn)
    return bench.photographs(photographs.SMALL, images, drawn)


def save_keras(path: Path) -> Path:
    """Writes the default encoder as a Keras model that takes pixels of 0 to 255; in a process of its own."""
    script = (
        "import sys\n"
        "from transforms.encoders import efficientnet_lite0 as lite\n"
        "from transforms.encoders.tensorflow_runtime import import_keras\n"
        "keras = import_keras()\n"
        "scale = keras.layers.Rescaling(lite.SCALE, offset=lite.OFFSET)\n"
        "encoder = lite.build_model(lite.read_weights())\n"
        "keras.Sequential([keras.Input((lite.SIZE, lite.SIZE, 3)), scale, encoder]).save(sys.argv[1])\n"
    )
    processes.run([sys.executable, "-c", script, str(path)])
    return path


def measure_large(bench: Bench) -> None:
    """Photographs of 12 megapixels, scaled while they are decoded against in full, and how alike their vectors are."""
    photos = bench.photographs(photographs.LARGE, *SIZES[photographs.LARGE])
    vectors: dict[str, dict[str, Any]] = {}
    ways: dict[str, Sequence[str]] = {"scaled": [], "in full": ["--exact-decode"]}
    for number, name in enumerate(bench.in_turn(list(ways))):
        store = bench.directory / f"large-{number}"
        measured = jobs.embed(photos, store, ways[name])
        vectors[name] = jobs.read_vectors(store)
        bench.add("large", name, {"steady": round(measured.steady, 1), "seconds": round(measured.seconds, 2)})
    cosines = [jobs.cosine(vector, vectors["in full"][file]) for file, vector in vectors["scaled"].items()]
    bench.add("large", "cosine", {"mean": round(float(np.mean(cosines)), 5), "least": round(min(cosines), 5)})


def measure_overhead(bench: Bench) -> None:
    """The pipeline without images and network."""
    for _ in range(bench.rounds):
        bench.add("overhead", "pipeline", module("overhead", "--images", str(bench.count(40_000))))


def measure_stored(bench: Bench) -> None:
    """Scoring stored features, and reading them as a matrix."""
    rows = bench.count(100_000)
    for number in range(bench.rounds):
        (directory := bench.directory / f"stored-{number}").mkdir()
        bench.add("stored", "scoring", score_stored.measure(directory, rows))
    script = [sys.executable, "-m", "benchmarks.read_store", "--rows", str(rows), "--rounds", str(max(3, bench.rounds))]
    for line in processes.run(script).output.splitlines():
        if found := re.fullmatch(r"(.+): median ([\d.]+) s, ([\d.]+) of the speed of np.load", line):
            bench.add("stored", found[1], {"seconds": float(found[2]), "of_np_load": float(found[3])})


def measure_heads(bench: Bench) -> None:
    """Fitting the plain head against Keras, PyTorch and scikit-learn; PyTorch comes from its peer environment."""
    torch = sorted((bench.environments / "torch" / "lib").glob("python*/site-packages"))
    path = os.pathsep.join([str(processes.ROOT), *map(str, torch)])
    rows, classes = (4_000, 10) if bench.quick else (100_000, 100)
    script = (
        "import json\n"
        "from benchmarks.fit_head import Problem, compare\n"
        f"for found in compare(Problem({rows}, 1280, {classes}), {bench.rounds}, 0.01):\n"
        "    print(json.dumps(found | {'seconds': str(round(found.get('seconds', 0), 3))}), flush=True)\n"
    )
    measured = processes.run([sys.executable, "-c", script], environment={"PYTHONPATH": path}, timeout=900)
    for found in map(json.loads, measured.output.splitlines()):
        if "missing" in found:
            bench.miss(f"head by {found['way']}", found["missing"])
        else:
            bench.add("heads", found["way"], {name: found[name] for name in ("seconds", "least", "passes")})


def measure_growth(bench: Bench) -> None:
    """Seconds and memory by the number of images, with a small encoder and with the default one."""
    (directory := bench.directory / "growth").mkdir()
    counts = sorted({bench.count(count) for count in growth.COUNTS})
    for row in growth.measure(directory, counts, str(growth.save_small_encoder(directory))):
        bench.add("growth", "small encoder", row)


def measure_profile(bench: Bench) -> None:
    """Where the threads of our job are."""
    photos = bench.photographs(photographs.SMALL, 1_500, SIZES[photographs.SMALL][1])
    for engine, precision in bench.engines()[:1]:
        words = ["--images", str(photos), "--engine", engine, "--precision", precision]
        bench.add("profile", f"{engine} {precision}", {"images": bench.count(1_500), **module("stacks", *words)})

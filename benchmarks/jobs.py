"""The whole job, files to Parquet: heliograph's by engine and precision, and its peers', each with two networks."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset

from benchmarks import processes
from benchmarks.processes import Mark, Measured
from transforms.encoders.conversion import INT8
from transforms.store.files import WORK

OURS, SAME, RECOMMENDED = "heliograph", "same network", "as documented"
PEERS = {
    "Daft": ("daft", "daft_frame"),
    "Ray Data": ("ray", "ray_data"),
    "Beam RunInference": ("beam", "beam_run_inference"),
    "tf.data": ("tensorflow", "tensorflow_data"),
    "Keras predict": ("tensorflow", "keras_predict"),
}
"""Environment and module of each peer."""

ENGINES = (
    ("litert", "float32"),
    ("openvino", "bfloat16"),
    ("litert", INT8),
    ("openvino", "float32"),
    ("tensorflow", "float32"),
)
TOTAL = 5_000
"""Images for which start-up is counted in; what has done fewer is extrapolated at its steady speed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A way to do it.

    Attributes:
      name: as the page has it.
      group: OURS, SAME or RECOMMENDED.
      images: directory with JPEGs.
      run: does it into a directory that is not there.
    """

    name: str
    group: str
    images: Path
    run: Callable[[Path, Path], Measured]


def our_job(engine: str, precision: str, images: Path, store: Path) -> Job:
    """Returns ``heliograph embed`` as a user would start it; in int8 it adds to a store that has a calibration."""

    def run(photos: Path, output: Path) -> Measured:
        if precision == INT8:
            shutil.copytree(store, output)
        return embed(photos, output, ["--engine", engine, "--precision", precision])

    return Job(name=f"{engine} {precision}", group=OURS, images=images, run=run)


def embed(photos: Path, store: Path, more: Sequence[str] = ()) -> Measured:
    """Runs the command, as far as its heartbeats tell."""
    command = processes.heliograph(
        "embed", "--input", str(photos), "--store", str(store), "--no-report", "--json", *more
    )
    return processes.run(command, watch=lambda: _heartbeat(store), timeout=900)


def _heartbeat(store: Path) -> Mark | None:
    done, moment = 0, 0.0
    for path in store.glob(f"*/{WORK}/progress/*/[!.]*"):  # not those that are being written
        try:
            done += json.loads(path.read_text())[1]
            moment = max(moment, path.stat().st_mtime)
        except (OSError, ValueError):
            return None  # it is being written or removed
    return (moment, done) if done else None


def peer_job(name: str, environments: Path, network: Sequence[str], group: str, images: Path) -> Job:
    """Returns a peer's job with a network, ``--keras FILE`` or ``--litert FILE``."""
    environment, module = PEERS[name]
    python = str(environments.absolute() / environment / "bin" / "python")

    def run(photos: Path, output: Path) -> Measured:
        marks = output.with_name(f"{output.name}-marks")
        shutil.rmtree(marks, ignore_errors=True)
        marks.mkdir()
        words = ["--images", str(photos), "--output", str(output), "--marks", str(marks), *network]
        return processes.run([python, "-m", f"benchmarks.peers.{module}", *words], marks=marks)

    return Job(name=name, group=group, images=images, run=run)


def why_missing(name: str, environments: Path) -> str:
    """Returns why a peer is not run; nothing when its environment is there."""
    environment = PEERS[name][0]
    if (environments / environment / "installed.lock").exists():
        return ""
    failure = environments / f"{environment}.failure"
    return failure.read_text().strip() if failure.exists() else "not installed; make bench-peers"


def measure(job: Job, directory: Path, reference: dict[str, Any]) -> dict[str, Any]:
    """Runs a job once.

    Args:
      job: to run.
      directory: for what it writes, which is removed.
      reference: vectors by file name to compare with; filled in by the first job.
    """
    output = directory / "output"
    shutil.rmtree(output, ignore_errors=True)
    images = sum(1 for _ in job.images.glob("*.jpg"))
    try:
        measured = job.run(job.images, output)
        found = read_vectors(output)
    finally:
        shutil.rmtree(output, ignore_errors=True)
    names = {path.name for path in job.images.glob("*.jpg")}
    found = {name: vector for name, vector in found.items() if name in names}
    if len(found) != images:
        raise processes.Failed(f"{len(found)} vectors of {images} images")
    if not reference:
        reference.update(found)
    cosines = [cosine(vector, reference[name]) for name, vector in found.items()]
    return {
        "images": images,
        "seconds": round(measured.seconds, 2),
        "first_seconds": round(measured.first, 2),
        "steady": round(measured.steady, 1),
        "with_start": round(TOTAL / (measured.seconds + (TOTAL - images) / measured.steady), 1),
        "peak_mb": round(measured.peak_mb),
        "after_last_seconds": round(measured.started + measured.seconds - measured.marks[-1][0], 2),
        "cosine": round(float(np.mean(cosines)), 5),
        "least_cosine": round(float(np.min(cosines)), 4),
    }


def read_vectors(directory: Path) -> dict[str, Any]:
    """Returns what a job wrote, by file name: a peer's Parquet files or a table of the store."""
    tables = list(directory.glob("*/data"))
    place, name = (tables[0], "image_uri") if tables else (directory, "path")
    rows = pyarrow.dataset.dataset(place, format="parquet").to_table(columns=[name, "embedding"])
    vectors = rows["embedding"].combine_chunks()
    matrix = vectors.flatten().to_numpy().reshape(len(rows), -1)
    return {path.rpartition("/")[2]: vector for path, vector in zip(rows[name].to_pylist(), matrix, strict=True)}


def cosine(left: Any, right: Any) -> float:
    """Returns the cosine of two vectors."""
    return float(left @ right / math.sqrt(float(left @ left) * float(right @ right)))

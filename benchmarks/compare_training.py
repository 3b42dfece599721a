"""From scratch, features and fine-tuning side by side, on Fashion-MNIST and on the solar cells of ELPV.

    python -m benchmarks.compare_training --data fashion-mnist --directory /tmp/compare --seeds 5
    python -m benchmarks.compare_training --data elpv --directory /tmp/compare --seeds 5

Every line is the commands of heliograph as a user would type them; they are repeated with other seeds (initial weights,
order, augmentation), never with other images. What was measured before is kept in the directory's results.jsonl and not
repeated; at the end the table is printed and the curves are drawn, with ``--write`` into docs/. Data: Debian's
dataset-fashion-mnist, the package elpv-dataset. Seconds are of the processor, all threads and children together; those
of a head include the embedding of its images.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import processes
from pipelines import demo

FASHION = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
TRAIN, VALIDATION, TEST = 270, 30, 100
"""Images of each class of Fashion-MNIST."""

STUDENT = {3: 4.30, 4: 3.18, 5: 2.78}
"""Of a two-sided 95 % interval for the mean of so many runs."""

WORDS = {
    "fashion-mnist": {
        "CNN_SIZE": "28",
        "SIZE": "64",
        "CNN_POLICY": "natural",
        "POLICY": "natural",
        "RATE": "0.0003",
        "BATCH": "32",
        "EMA": "0",
        "EPOCHS": "6",
        "BLOCKS": "all",
    },
    "elpv": {
        "CNN_SIZE": "48",
        "SIZE": "224",
        "CNN_POLICY": "texture",
        "POLICY": "texture:0.4",
        "RATE": "0.0001",
        "BATCH": "16",
        "EMA": "1",
        "EPOCHS": "12",
        "BLOCKS": "8",
    },
}
LONG = (
    *("--learning-rate", "RATE", "--batch-size", "BATCH", "--ema-epochs", "EMA"),
    *("--train-epochs", "EPOCHS", "--patience", "EPOCHS"),
)
START = "head on features"
"""The head that fine-tuning begins with."""

METHODS = {
    "CNN from scratch": ["cnn", "--image-size", "CNN_SIZE", "--augment", "none", "--dropout-rate", "0"],
    "CNN, augmentation and dropout": ["cnn", "--image-size", "CNN_SIZE", "--augment", "CNN_POLICY"],
    START: ["train", "--image-size", "SIZE"],
    "head with views": ["train", "--image-size", "SIZE", "--views", "4", "--augment", "POLICY"],
    "fine-tuned from that head": ["finetune", "--augment", "POLICY", "--unfreeze", "BLOCKS", *LONG],
}
"""The command and its flags; for a head, those of ``heliograph embed``."""

DOCUMENT = Path(__file__).parents[1] / "docs" / "training.md"
FIGURES = DOCUMENT.parent / "figures"

Run = Sequence[Sequence[Any]]
"""Epoch, accuracy on training, accuracy on validation."""

_WIDTH, _HEIGHT, _EDGE = 300, 260, 44
_COLOURS = {"training": "#8a5a00", "validation": "#1f5fa8"}


def main() -> None:
    """Runs what is asked for and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(WORDS), required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--write", action="store_true", help="table and curves go to docs/")
    flags = parser.parse_args()
    root = flags.directory / flags.data
    source = write_fashion(root / "images") if flags.data == "fashion-mnist" else write_cells(root)
    results = Results(root / "results.jsonl")
    for seed in range(flags.seeds):
        for name in flags.methods:
            if METHODS[name][0] == "train" and seed:
                continue  # a convex fit: no seed changes it
            if not results.find(name, seed):
                results.add(name, seed, run(name, flags.data, source, root, seed))
    compared = table(results, flags.methods)
    print(compared)
    panels = [(name, [row["history"] for row in results.find(name)]) for name in flags.methods]
    drawn = [(name, runs) for name, runs in panels if runs and runs[0]]
    figure = curves_svg(f"Accuracy by epoch on {flags.data}", drawn) if drawn else ""
    (root / "curves.svg").write_text(figure)
    if flags.write:
        write_document(flags.data, compared, figure)


def write_document(data: str, compared: str, figure: str) -> None:
    """Puts the table between the marks of docs/training.md, and the curves beside it."""
    begin, end = f"<!-- compared on {data} -->\n", "<!-- end -->"
    before, _, rest = DOCUMENT.read_text().partition(begin)
    DOCUMENT.write_text(f"{before}{begin}{compared}\n{end}{rest.partition(end)[2]}")
    (FIGURES / f"curves-{data}.svg").write_text(figure)


def read_fashion(archive: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images ``uint8[N, 28, 28]`` and classes of ``train`` or ``t10k``."""
    pixels = np.frombuffer(gzip.decompress((FASHION / f"{archive}-images-idx3-ubyte.gz").read_bytes()), np.uint8)
    labels = np.frombuffer(gzip.decompress((FASHION / f"{archive}-labels-idx1-ubyte.gz").read_bytes()), np.uint8)
    return pixels[16:].reshape(-1, 28, 28), labels[8:]


def write_fashion(root: Path) -> list[str]:
    """Writes the first images of each class as PNG files; returns the flags of the input."""
    for archive, split_of in (("train", ("train", "validation")), ("t10k", ("test", "test"))):
        pixels, labels = read_fashion(archive)
        count = TEST if archive == "t10k" else TRAIN + VALIDATION
        for target, name in enumerate(CLASSES):
            for place, number in enumerate(np.flatnonzero(labels == target)[:count]):
                path = root / split_of[place >= TRAIN] / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels[number]).save(path)
    return ["--input", str(root)]


def write_cells(root: Path) -> list[str]:
    """Writes the demo's manifest and split; returns the flags of the input."""
    cells = demo.read_cells(demo.data_directory())
    demo.write_manifest(root / "cells.csv", cells, demo.split_cells(cells))
    return ["--input", str(root / "cells.csv"), "--input-root", str(demo.data_directory())]


def run(name: str, data: str, source: list[str], root: Path, seed: int) -> dict[str, Any]:
    """Runs one method with one seed; returns its figures."""
    command, *more = [WORDS[data].get(word, word) for word in METHODS[name]]
    started, used = time.monotonic(), processor_seconds()
    if command == "train":
        record = fit_head(name, more, source, root)
    else:
        more = [*more, "--model", str(root / "models"), "--seed", str(seed)]
        if command == "finetune":
            more += ["--start", str(root / START / "model")]
        record = call([command, *source, *more])
    seconds = time.monotonic() - started
    metrics = record["metrics"]
    return {
        "accuracy": metrics["test"]["accuracy"],
        "f1": metrics["test"]["macro"]["f1"],
        "classes": {row["name"]: row["f1"] for row in metrics["test"]["classes"]},
        "ece": metrics["test"]["expected_calibration_error"],
        "majority": metrics["test"]["majority_accuracy"],
        "gap": metrics["train"]["accuracy"] - metrics["validation"]["accuracy"] if "train" in metrics else None,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor_seconds() - used, 1),
        "history": [
            (line["epoch"], line["accuracy"], line["validation_accuracy"]) for line in metrics["fit"].get("history", ())
        ],
        "model": record["model"],
    }


def processor_seconds() -> float:
    """Returns what this process and its children that ended have used so far, all cores together."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def fit_head(name: str, more: Sequence[str], source: list[str], root: Path) -> dict[str, Any]:
    """Embeds and fits a head; returns the record of the latter."""
    store, model = str(root / name / "store"), str(root / name / "model")
    call(["embed", *source, "--store", store, *more])
    return call(["train", "--store", store, "--model", model])


def call(words: list[str]) -> dict[str, Any]:
    """Runs one command; returns its record."""
    print("$ heliograph", *words, flush=True)
    return processes.run_here(words)


class Results:
    """What was measured, a line of JSON each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def find(self, name: str, seed: int | None = None) -> list[dict[str, Any]]:
        """Returns the runs of a method."""
        return [row for row in self._rows if row["method"] == name and seed in (None, row["seed"])]

    def add(self, name: str, seed: int, figures: dict[str, Any]) -> None:
        """Keeps a run."""
        row = {"method": name, "seed": seed, **figures}
        self._rows.append(row)
        with self._path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(row, flush=True)


def table(results: Results, methods: Iterable[str]) -> str:
    """Returns the comparison as Markdown."""
    lines = [
        "| | accuracy | macro F1 | calibration error | train − validation accuracy | processor seconds | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [row for name in methods for row in results.find(name)]
    if rows:
        lines.append(f"| majority class | {rows[0]['majority']:.3f} | | | | | |")
    for name in methods:
        found = results.find(name)
        if found:
            cells = [span([row[key] for row in found], digits) for key, digits in COLUMNS]
            lines.append(f"| {name} | {' | '.join(cells)} | {len(found)} |")
    return "\n".join(lines)


COLUMNS = (("accuracy", 3), ("f1", 3), ("ece", 3), ("gap", 3), ("processor_seconds", 0))


def span(values: list[float | None], digits: int) -> str:
    """Returns the mean, from three seeds on with the half-width of its 95 % interval."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    half = STUDENT.get(len(known), 2.0) * statistics.stdev(known) / len(known) ** 0.5 if len(known) > 2 else None
    return f"{statistics.mean(known):.{digits}f}" + (f" ± {half:.{digits}f}" if half is not None else "")


def curves_svg(title: str, panels: Sequence[tuple[str, Sequence[Run]]]) -> str:
    """Returns the panels side by side, with one scale of accuracy, down to the lowest after an epoch of training."""
    lines = [line for _, runs in panels for run in runs for line in run]
    values = [value for line in lines if line[0] for value in line[1:] if value is not None]
    low = int(min(values) * 10) / 10
    width = _WIDTH * len(panels)
    drawn = "".join(
        f'<g transform="translate({place * _WIDTH} 0)">{_panel(name, runs, low)}</g>'
        for place, (name, runs) in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}" '
        f'role="img" font-family="sans-serif" font-size="12"><title>{title}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{drawn}</svg>\n'
    )


def _panel(name: str, runs: Sequence[Run], low: float) -> str:
    last = max(run[-1][0] for run in runs)

    def place(epoch: int, value: float) -> str:
        x = _EDGE + epoch / last * (_WIDTH - _EDGE - 16)
        y = _HEIGHT - _EDGE - (max(value, low) - low) / (1 - low) * (_HEIGHT - 2 * _EDGE)
        return f"{x:.1f},{y:.1f}"

    parts = [f'<text x="{_EDGE}" y="16" font-weight="bold">{name}</text>']
    for value in (low, (1 + low) / 2, 1.0):
        y = place(0, value).split(",")[1]
        parts.append(f'<line x1="{_EDGE}" y1="{y}" x2="{_WIDTH - 16}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{_EDGE - 5}" y="{y}" text-anchor="end" dominant-baseline="middle">{value:.2f}</text>')
    for column, (split, colour) in enumerate(_COLOURS.items(), start=1):
        parts.append(f'<text x="{_EDGE + 80 * (column - 1)}" y="34" fill="{colour}">{split}</text>')
        for run in runs:
            line = " ".join(place(point[0], value) for point in run if (value := point[column]) is not None)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-opacity=".7"/>')
    parts.append(f'<text x="{_WIDTH - 16}" y="{_HEIGHT - 24}" text-anchor="end">epoch {last}</text>')
    return "".join(parts)


if __name__ == "__main__":
    main()

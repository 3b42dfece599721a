"""From scratch, features and fine-tuning side by side, on Fashion-MNIST (3,000 / 1,000) and on the solar cells of ELPV.

    python benchmarks/compare_training.py --data fashion-mnist --directory /tmp/compare --seeds 5
    python benchmarks/compare_training.py --data elpv --directory /tmp/compare --seeds 5

Every line is the commands of heliograph as a user would type them; they are repeated with other seeds (initial weights,
order, augmentation), never with other images. What was measured before is kept in the directory's results.jsonl and not
repeated; the table is printed at the end. Data: Debian's dataset-fashion-mnist, the package elpv-dataset.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines import cli, demo

FASHION = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
TRAIN, VALIDATION, TEST = 255, 45, 100
"""Images of each class of Fashion-MNIST."""

STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}
"""Of a two-sided 95 % interval for the mean of so many runs."""

CNN = {"fashion-mnist": [], "elpv": ["--image-size", "112"]}
POLICY = {"fashion-mnist": "natural", "elpv": "texture"}
METHODS = {
    "CNN from scratch": ["cnn", "--augment", "none", "--dropout-rate", "0"],
    "CNN, augmentation and dropout": ["cnn", "--augment", "POLICY", "--train-epochs", "60", "--patience", "10"],
    "head on features": ["train"],
    "fine-tuned, top 4 blocks": ["finetune", "--augment", "POLICY", "--unfreeze", "4"],
    "fine-tuned": ["finetune", "--augment", "POLICY"],
}


def main() -> None:
    """Runs what is asked for and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(CNN), required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    flags = parser.parse_args()
    root = flags.directory / flags.data
    source = write_fashion(root / "images") if flags.data == "fashion-mnist" else write_cells(root)
    results = Results(root / "results.jsonl")
    for seed in range(flags.seeds):
        for name in flags.methods:
            if METHODS[name][0] == "train" and seed:
                continue  # a convex fit: no seed changes it
            if not results.find(name, seed):
                results.add(name, seed, run(METHODS[name], flags.data, source, root, seed))
    print(table(results, flags.methods))


def write_fashion(root: Path) -> list[str]:
    """Writes the first images of each class as PNG files; returns the flags of the input."""
    for archive, split_of in (("train", ("train", "validation")), ("t10k", ("test", "test"))):
        pixels = np.frombuffer(gzip.decompress((FASHION / f"{archive}-images-idx3-ubyte.gz").read_bytes()), np.uint8)
        labels = np.frombuffer(gzip.decompress((FASHION / f"{archive}-labels-idx1-ubyte.gz").read_bytes()), np.uint8)
        pixels, labels = pixels[16:].reshape(-1, 28, 28), labels[8:]
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


def run(words: list[str], data: str, source: list[str], root: Path, seed: int) -> dict[str, Any]:
    """Runs one method with one seed; returns its figures."""
    command, *more = [POLICY[data] if word == "POLICY" else word for word in words]
    head = str(root / "head")
    if command != "cnn":
        call(["embed", *source, "--store", str(root / "store")])
        record = call(["train", "--store", str(root / "store"), "--model", head])
    if command != "train":
        place = ["--model", str(root / "models"), "--seed", str(seed)]
        extra = CNN[data] if command == "cnn" else ["--start", head]
        record = call([command, *source, *place, *more, *extra])
    test, train = record["metrics"]["test"], record["metrics"].get("train")
    return {
        "accuracy": test["accuracy"],
        "f1": test["macro"]["f1"],
        "ece": test["expected_calibration_error"],
        "majority": test["majority_accuracy"],
        "gap": train["accuracy"] - record["metrics"]["validation"]["accuracy"] if train else None,
        "seconds": record["seconds"],
        "model": record["model"],
    }


def call(words: list[str]) -> dict[str, Any]:
    """Runs one command; returns its record."""
    print("$ heliograph", *words, flush=True)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = cli.main([*words, "--json"])
    if status:
        raise SystemExit(f"heliograph {words[0]} ended with status {status}")
    record: dict[str, Any] = json.loads(output.getvalue())
    return record


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
        "| | accuracy | macro F1 | calibration error | train − validation accuracy | seconds | seeds |",
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


COLUMNS = (("accuracy", 3), ("f1", 3), ("ece", 3), ("gap", 3), ("seconds", 0))


def span(values: list[float | None], digits: int) -> str:
    """Returns the mean with the half-width of its 95 % interval over the seeds."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    half = STUDENT.get(len(known), 2.0) * statistics.stdev(known) / len(known) ** 0.5 if len(known) > 1 else None
    return f"{statistics.mean(known):.{digits}f}" + (f" ± {half:.{digits}f}" if half is not None else "")


if __name__ == "__main__":
    main()

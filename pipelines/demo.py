"""``heliograph demo``: the main job, end to end, on photographs of solar cells."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import importlib.util
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipelines import cli
from pipelines.command_calls import call_command
from pipelines.run_record import read_run_record
from transforms.errors import InputError
from transforms.files.filesystem import join, write_atomically

LICENCE = """\
The photographs are the ELPV data set, 2,624 electroluminescence images of solar cells by Buerhop-Lutz,
Deitsch, Maier et al. (ZAE Bayern), under CC BY-NC-SA 4.0: for non-commercial use, with attribution,
shared alike. They come from the package elpv-dataset and are not part of heliograph."""

HELD_BACK, VALIDATION = 0.2, 0.12
"""Shares of the cells that are held back, and that early stopping and calibration use."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One photograph: its path, the probability of a defect as experts judged it, and the kind of cell."""

    path: str
    probability: float
    cell_type: str

    @property
    def label(self) -> str:
        """``defective`` from a probability of one half."""
        return "defective" if self.probability >= 0.5 else "functional"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="heliograph demo", description="Run all of it on photographs of solar cells.")
    parser.add_argument("--directory", default="demo", help="where everything is written (default: demo)")
    directory = Path(parser.parse_args(argv).directory).absolute()
    images = data_directory()
    print(LICENCE, end="\n\n")
    cells = read_cells(images)
    splits = split_cells(cells)
    write_manifest(directory / "cells.csv", cells, splits)
    held_back = [cell for cell in cells if splits[cell] == "test"]
    write_manifest(directory / "held-back.csv", held_back, splits)
    steps = _steps(directory, images)
    embedded, *_ = [call_command(step) for step in steps]
    print(_summary(directory, embedded, len(held_back)))
    return 0


def _steps(directory: Path, images: Path) -> list[list[str]]:
    store, model = str(directory / "store"), str(directory / "models" / "cells")
    root, predictions, report = str(images), str(directory / "predictions"), str(directory / "report")
    cells, held_back = str(directory / "cells.csv"), str(directory / "held-back.csv")
    return [
        ["embed", "--input", cells, "--input-root", root, "--store", store],
        ["train", "--store", store, "--model", model],
        ["score", "--input", held_back, "--input-root", root, "--model", model, "--output", predictions],
        ["evaluate", "--predictions", predictions, "--output", report, "--slice", "cell_type"],
    ]


def data_directory() -> Path:
    """Returns where the data set's package keeps labels.csv and the images.

    Raises:
      InputError: the package is not installed.
    """
    package = importlib.util.find_spec("elpv_dataset")
    if package is None or package.origin is None:
        raise InputError("the demo's photographs are not installed: run `make demo`, or pip install elpv-dataset")
    return Path(package.origin).parent / "data"


def read_cells(directory: Path) -> list[Cell]:
    """Reads labels.csv: path, probability of a defect and type of cell, parted by blanks."""
    rows = [line.split() for line in (directory / "labels.csv").read_text().splitlines() if line.strip()]
    return [Cell(str(directory / path), float(probability), kind) for path, probability, kind in rows]


def split_cells(cells: Iterable[Cell]) -> dict[Cell, str]:
    """Divides the cells, the same way every time: alike in every label and type, by the hash of the file's name."""
    strata: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        strata[cell.label, cell.cell_type].append(cell)
    splits = {}
    for stratum in strata.values():
        stratum.sort(key=lambda cell: hashlib.sha256(os.path.basename(cell.path).encode()).digest())
        test, validation = (round(share * len(stratum)) for share in (HELD_BACK, HELD_BACK + VALIDATION))
        for place, cell in enumerate(stratum):
            splits[cell] = "test" if place < test else "validation" if place < validation else "train"
    return splits


def write_manifest(path: Path, cells: Iterable[Cell], splits: dict[Cell, str]) -> None:
    """Writes a manifest with the columns uri, label, split and cell_type; the probability would tell the label."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["uri", "label", "split", "cell_type"])
    for cell in cells:
        writer.writerow([cell.path, cell.label, splits[cell], cell.cell_type])
    from pyarrow import fs

    write_atomically(fs.LocalFileSystem(), str(path), text.getvalue().encode())


def _summary(directory: Path, embedded: dict[str, Any], held_back: int) -> str:
    metrics = read_run_record(join(str(directory / "report"), "metrics.json"))
    overall = metrics["overall"]
    fresh = embedded["embedded"] - embedded["resumed"]
    speed = f"{fresh:,} embedded at {embedded['images_per_second']:,.0f} images/s" if fresh else "none embedded again"
    lines = [
        "",
        f"{embedded['listed']:,} photographs of solar cells; {speed} ({embedded['reused']:,} were in the store)",
        f"{held_back} held back and classified: {overall['accuracy']:.1%} right; "
        f"calling all of them functional would be right for {overall['majority_accuracy']:.1%}",
    ]
    for part in metrics["slices"]["cell_type"]:
        low, high = part["accuracy_interval"]
        span = f"95 % interval {low:.1%} to {high:.1%}"
        lines.append(f"  {part['value']:5} cells: {part['accuracy']:.1%} right of {part['rows']} ({span})")
    lines += [
        f"Report: {directory}/report/report.html",
        "",
        "Next, a folder of your own with a directory per label:",
        "  heliograph embed --input YOUR/FOLDER --store YOUR/STORE",
        "  heliograph train --store YOUR/STORE --model YOUR/MODEL",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.leave(main())

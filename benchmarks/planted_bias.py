"""A data set with a planted bias, to show what the remedies of ``heliograph train`` do.

    python benchmarks/planted_bias.py DIRECTORY [--seed N]     writes the pictures and manifest.csv

Each picture shows grains on a plate under a cool or a warm lamp; in half of them a dark crack runs over the plate. In
the training split nearly all pictures under the warm lamp are cracked and nearly all under the cool lamp are sound; in
validation and test the lamp says nothing. A head fitted on them calls sound pictures under the warm lamp cracked.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

LABELS, LAMPS = ("cracked", "sound"), ("cool", "warm")
SIZES = {"train": 1000, "validation": 600, "test": 1000}
PLANTED = 0.95
"""Share of the training pictures whose lamp goes with their label."""


class Picture(NamedTuple):
    """One drawn picture and what is true of it."""

    pixels: np.ndarray
    split: str
    label: str
    lamp: str


def draw_set(seed: int, sizes: dict[str, int] | None = None, edge: int = 64) -> list[Picture]:
    """Draws a data set; the same seed gives the same pictures."""
    chance = np.random.default_rng(seed)
    pictures = []
    for split, size in (sizes or SIZES).items():
        for _ in range(size):
            cracked = bool(chance.random() < 0.5)
            warm = cracked if chance.random() < PLANTED else not cracked
            if split != "train":
                warm = bool(chance.random() < 0.5)
            pixels = draw(cracked, warm, chance, edge)
            pictures.append(Picture(pixels, split, LABELS[not cracked], LAMPS[warm]))
    return pictures


def draw(cracked: bool, warm: bool, chance: np.random.Generator, edge: int = 64) -> np.ndarray:
    """Draws a plate of grains, ``uint8[edge, edge, 3]``; over a cracked one runs a dark line."""
    image = Image.new("L", (4 * edge, 4 * edge), int(chance.integers(150, 200)))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        radius, (x, y) = edge * chance.uniform(0.35, 0.7), chance.uniform(0.5 * edge, 3.5 * edge, 2)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(chance.integers(80, 220)))
    if cracked:
        steps = chance.normal(0, edge * 0.22, (9, 2)) + chance.normal(0, edge * 0.28, 2)
        points = chance.uniform(edge, 3 * edge, 2) + np.cumsum(steps, axis=0)
        pen.line([tuple(point) for point in points], fill=int(chance.integers(40, 110)), width=3)
    grey = np.asarray(image.filter(ImageFilter.GaussianBlur(edge / 40)).resize((edge, edge)), np.float64)
    lamp = np.array([1.1, 1.0, 0.85] if warm else [0.88, 0.98, 1.12]) * chance.normal(1, 0.03, 3)
    noisy = grey[..., None] * lamp + chance.normal(0, 7, (edge, edge, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def describe(pixels: np.ndarray) -> np.ndarray:
    """Returns some statistics of a picture, ``float32[21]``: enough for a head where an encoder would take too long."""
    values = pixels.astype(np.float32) / 255
    grey = values.mean(axis=2)
    found = [*values.mean(axis=(0, 1))]
    for step in (1, 2, 4):
        small = grey[: len(grey) // step * step, : len(grey) // step * step]
        small = small.reshape(len(small) // step, step, -1, step).mean(axis=(1, 3))
        slopes = np.hypot(np.diff(small, axis=0)[:, :-1], np.diff(small, axis=1)[:-1])
        found += [*np.quantile(slopes, (0.5, 0.9, 0.98, 1.0)), *np.quantile(small, (0.0, 0.02))]
    return np.array(found, np.float32)


def write(directory: Path, seed: int) -> Path:
    """Writes the pictures of a seed as PNG files with a manifest, whose path is returned."""
    manifest = directory / "manifest.csv"
    if manifest.exists():
        return manifest
    directory.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, picture in enumerate(draw_set(seed)):
        name = f"{number:05}.png"
        Image.fromarray(picture.pixels).save(directory / name)
        lines.append((name, picture.label, picture.split, picture.lamp))
    with manifest.open("w", newline="") as stream:
        csv.writer(stream).writerows([("uri", "label", "split", "lamp"), *lines])
    return manifest


def main() -> None:
    """Writes the data set that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    print(write(flags.directory, flags.seed))


if __name__ == "__main__":
    main()

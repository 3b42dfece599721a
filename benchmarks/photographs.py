"""Photographs that are drawn: blocks of every size under film grain, with a photograph's bytes a pixel."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

OCTAVES = 6
GRAIN = 9.5
QUALITY = 85


class Size(NamedTuple):
    """Pixels of a photograph."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"


SMALL, MIDDLE, LARGE = Size(500, 375), Size(1600, 1200), Size(4000, 3000)


def draw(size: Size, seed: int) -> Image.Image:
    """Draws one: blocks whose contrast falls with their size, softened, and grain; the same for the same seed."""
    random = np.random.default_rng([seed, *size])
    shapes = np.full((3 << OCTAVES, 4 << OCTAVES, 3), 128, np.float32)
    for octave in range(OCTAVES):
        cells = random.normal(0, 60 / 1.6**octave, (3 << octave, 4 << octave, 3)).astype(np.float32)
        shapes += cells.repeat(1 << (OCTAVES - octave), axis=0).repeat(1 << (OCTAVES - octave), axis=1)
    smooth = Image.fromarray(np.clip(shapes, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = random.standard_normal((size.height, size.width, 1), dtype=np.float32) * GRAIN
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))


def write(directory: Path, size: Size, count: int, drawn: int) -> Path:
    """Writes JPEGs of which ``drawn`` are distinct pictures; every file has bytes of its own, so none is reused."""
    directory.mkdir(parents=True, exist_ok=True)
    known: list[bytes] = []
    for number in range(count):
        path = directory / f"{number:06d}.jpg"
        if number < drawn:
            draw(size, number).save(path, quality=QUALITY)
            known.append(path.read_bytes())
        else:
            # Bytes after a JPEG's end are no picture, but make another file of it.
            path.write_bytes(known[number % drawn] + number.to_bytes(4, "big"))
    return directory


def part(directory: Path, images: int) -> Path:
    """Returns a directory with hard links to the first images of another."""
    some = directory.with_name(f"{directory.name}-{images}")
    if not some.exists():
        some.mkdir()
        for path in sorted(directory.glob("*.jpg"))[:images]:
            (some / path.name).hardlink_to(path)
    return some

"""Photographs that are drawn: shapes of every size under film grain, with a photograph's bytes a pixel."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

OCTAVES = 6
GRAIN = 8.0
QUALITY = 85


class Size(NamedTuple):
    """Pixels of a photograph."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"


SMALL, MIDDLE, LARGE = Size(500, 375), Size(1600, 1200), Size(4000, 3000)


def draw(size: Size, seed: int) -> Image.Image:
    """Draws one: shapes whose contrast falls with their size, and grain; the same for the same seed."""
    random = np.random.default_rng([seed, *size])
    height, width = 3 << OCTAVES, 4 << OCTAVES
    shapes = np.full((height, width, 3), 118, np.float32)
    for octave in range(OCTAVES):
        contrast, cells = 55 / 1.7**octave, (3 << octave, 4 << octave)
        light, colour = random.normal(0, contrast, (*cells, 1)), random.normal(0, contrast / 2, (*cells, 3))
        for channel, values in enumerate(np.moveaxis((light + colour).astype(np.float32), 2, 0)):
            shapes[:, :, channel] += Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)
    smooth = Image.fromarray(np.clip(shapes, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = random.standard_normal((size.height, size.width, 1), dtype=np.float32) * GRAIN
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))


def write(directory: Path, size: Size, count: int, drawn: int, seed: int = 0) -> Path:
    """Writes JPEGs of which ``drawn`` are distinct pictures; every file has bytes of its own, so none is reused.

    Args:
      directory: that is made.
      size: of each.
      count: files.
      drawn: pictures.
      seed: of the first; the next follow.
    """
    directory.mkdir(parents=True, exist_ok=True)
    known: list[bytes] = []
    for number in range(count):
        path = directory / f"{number:06d}.jpg"
        if number < drawn:
            draw(size, seed + number).save(path, quality=QUALITY)
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

"""Photographs that the tests draw: two classes that any network can tell apart, and folders of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

LABELS = ("disc", "stripes")


def draw(label: str, seed: int, size: tuple[int, int] = (96, 72), mode: str = "RGB") -> Image.Image:
    """Draws a noisy picture of a disc or of stripes."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    pen = ImageDraw.Draw(image)
    colour = tuple(int(value) for value in random.integers(120, 255, 3))
    if label == "disc":
        x, y = (int(value) for value in random.integers(15, 30, 2))
        pen.ellipse((x, y, x + size[0] // 2, y + size[1] // 2), fill=colour)
    else:
        for x in range(int(random.integers(0, 8)), size[0], 12):
            pen.rectangle((x, 0, x + 4, size[1]), fill=colour)
    return image.convert(mode)


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """Returns the file of an image."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def write_folder(root: Path, per_label: int = 6, form: str = "JPEG", first_seed: int = 0) -> Path:
    """Writes ``root/<label>/<number>.jpg`` for both labels; every picture is another one."""
    suffix = {"JPEG": "jpg", "PNG": "png"}[form]
    for place, label in enumerate(LABELS):
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(per_label):
            seed = first_seed + 1000 * place + number
            (root / label / f"{number:04d}.{suffix}").write_bytes(encoded(draw(label, seed), form))
    return root

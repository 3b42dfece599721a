"""A small collection that is drawn: good images in every form, bad ones, and what is known of each."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from transforms.errors import ErrorClass
from transforms.files.filesystem import join, open_filesystem, write_atomically

LABELS = ("disc", "stripes")
FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}
SPLITS = ("train", "train", "validation", "test", "")
"""Of the images in turn; empty for one that follows from group or content."""
IN_ARCHIVE = 4
"""Each so many-th image lies in the tar file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """One image, and what must be said of it.

    Attributes:
      name: relative to the collection.
      data: of its file.
      label: what it shows.
      split: as its manifest says; empty when it does not.
      site: an attribute.
      width: upright, in pixels.
      height: upright, in pixels.
      format: Pillow's name.
    """

    name: str
    data: bytes
    label: str
    split: str
    site: str
    width: int
    height: int
    format: str

    def facts(self) -> dict[str, Any]:
        """Returns the columns of a feature row that are known beforehand."""
        known = {
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "byte_size": len(self.data),
            "labels": [self.label],
            **{name: getattr(self, name) for name in ("width", "height", "format")},
        }
        return known | ({"split": self.split} if self.split else {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collection:
    """Where the collection lies, and what must come of it.

    Attributes:
      inputs: addresses for ``--input``.
      reordered: the same, with the rows of the manifest in another order.
      rows: address of an image to columns of its row.
      letters: address of a bad image to its class.
    """

    inputs: tuple[str, ...]
    reordered: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Any]]
    letters: Mapping[str, str]


def draw_collection(count: int) -> Iterator[Drawn]:
    """Draws ``count`` images of two labels, each another one, in all formats, modes and orientations in turn."""
    for number in range(count):
        image = _picture(LABELS[number % 2], number)
        name = list(FORMATS)[number // 2 % len(FORMATS)]
        width, height = image.size
        options: dict[str, Any] = {}
        if name == "JPEG" and number % 5 == 0:
            options["exif"] = _orientation(6)
            width, height = height, width
        stream = io.BytesIO()
        image.save(stream, name, **options)
        yield Drawn(
            name=f"images/{number:05d} ü.{FORMATS[name]}",
            data=stream.getvalue(),
            label=LABELS[number % 2],
            split=SPLITS[number // 2 % len(SPLITS)],
            site=("north", "south", "=1+1")[number % 3],
            width=width,
            height=height,
            format=name,
        )


def bad_files() -> dict[str, tuple[bytes | None, ErrorClass]]:
    """Returns names with what lies there, None for nothing, and the class of the dead letter."""
    jpeg, png = io.BytesIO(), io.BytesIO()
    _picture(LABELS[0], 1).save(jpeg, "JPEG")
    _picture(LABELS[0], 1).save(png, "PNG")
    cut, broken = jpeg.getvalue()[: len(jpeg.getvalue()) // 2], bytearray(png.getvalue())
    broken[broken.index(b"IDAT") + 60] ^= 0xFF
    return {
        "bad/missing.jpg": (None, ErrorClass.NOT_FOUND),
        "bad/../outside.jpg": (None, ErrorClass.FORBIDDEN_URI),
        "bad/empty.jpg": (b"", ErrorClass.EMPTY),
        "bad/page.jpg": (b"<!doctype html><title>Not found</title>", ErrorClass.UNSUPPORTED_FORMAT),
        "bad/half.jpg": (cut, ErrorClass.TRUNCATED),
        "bad/flipped.png": (bytes(broken), ErrorClass.CORRUPT),
        "bad/bomb.png": (_png_header(60_000, 60_000), ErrorClass.TOO_MANY_PIXELS),
        "bad/thread.png": (_png_header(30_000, 1), ErrorClass.BAD_DIMENSIONS),
    }


def write_collection(directory: str, count: int) -> Collection:
    """Writes ``count`` images and the bad ones below ``directory``: files with a manifest, and a tar file."""
    drawn = list(draw_collection(count))
    archived = drawn[::IN_ARCHIVE]
    single = [image for image in drawn if image not in archived]
    bad = bad_files()
    for name, data in [(image.name, image.data) for image in single] + [(n, data) for n, (data, _) in bad.items()]:
        if data is not None:
            _write(join(directory, name), data)
    listed = [{"uri": i.name, "label": i.label, "split": i.split, "site": i.site} for i in single]
    listed += [{"uri": name, "label": LABELS[0], "split": "test", "site": "north"} for name in bad]
    twice = {**listed[0], "label": LABELS[1], "split": "test"}  # another label: nobody can tell which is right
    places = [join(directory, name) for name in ("listing.jsonl", "reordered.jsonl", "odd.csv", "archive.tar")]
    _write(places[0], _lines([*listed, twice]))
    _write(places[1], _lines([twice, *reversed(listed)]))
    _write(places[2], f"uri,label,split\n{single[1].name},disc,holdout\n".encode())
    _write(places[3], _archive(archived))
    rows = {join(directory, image.name): image.facts() for image in single}
    ambiguous = join(directory, twice["uri"])
    rows[ambiguous] = {name: value for name, value in rows[ambiguous].items() if name not in ("labels", "split")}
    rows |= {f"{places[3]}#{_member(image)}": dataclasses.replace(image, split="").facts() for image in archived}
    letters = {name if ".." in name else join(directory, name): str(reason) for name, (_, reason) in bad.items()}
    return Collection(
        inputs=(places[0], *places[2:]),
        reordered=(places[1], *places[2:]),
        rows=rows,
        letters=letters | {f"{places[2]}#row=1": str(ErrorClass.BAD_ROW), ambiguous: str(ErrorClass.DUPLICATE_ID)},
    )


def _lines(rows: Sequence[Mapping[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _member(image: Drawn) -> str:
    return image.name.replace("/", "-").replace(" ", "")


def _archive(images: Sequence[Drawn]) -> bytes:
    """Returns a WebDataset: an image and its label under one name."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for image in images:
            name = _member(image)
            for member, data in ((name, image.data), (f"{name.rpartition('.')[0]}.cls", image.label.encode())):
                entry = tarfile.TarInfo(member)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def _picture(label: str, number: int) -> Image.Image:
    """Draws a noisy disc or stripes; size and mode follow from the number."""
    random = np.random.default_rng(number)
    width, height = 60 + 7 * number % 90, 50 + 11 * number % 70
    image = Image.fromarray(random.integers(0, 60, (height, width, 3), dtype=np.uint8))
    pen = ImageDraw.Draw(image)
    colour = tuple(int(value) for value in random.integers(120, 255, 3))
    if label == LABELS[0]:
        pen.ellipse((width // 5, height // 5, width * 4 // 5, height * 4 // 5), fill=colour)
    else:
        for x in range(number % 8, width, 12):
            pen.rectangle((x, 0, x + 4, height), fill=colour)
    return image.convert("L") if number % 7 == 0 else image


def _orientation(value: int) -> bytes:
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, value, 0)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)


def _png_header(width: int, height: int) -> bytes:
    """Returns a PNG that announces a size, and has little of it."""
    chunks = b""
    for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b""))):
        chunks += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def _write(address: str, data: bytes) -> None:
    filesystem, path = open_filesystem(address)
    write_atomically(filesystem, path, data)

"""Pixels of labelled images: decoded once, by the project's own decoder, into a file that every epoch reads."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines import inputs
from pipelines.progress import StatusLine
from pipelines.training.features import Examples, Splits, split_features
from transforms.encoders.encoder import Encoder
from transforms.encoders.specification import Preprocessing
from transforms.errors import InputError, OptionError, TooManyFailuresError
from transforms.machine.cores import usable_cores
from transforms.model.head import Array
from transforms.shards.decoder import Decoder
from transforms.shards.outcome import DeadLetter
from transforms.shards.plan import plan_image
from transforms.shards.record import allowed_failures
from transforms.shards.work import ways_to_work
from transforms.sources.dialects import Source, roots_of
from transforms.sources.reference import SPLITS, ImageReference
from transforms.sources.split import SplitRatios
from transforms.store.dead_letters import write_letters
from transforms.store.read import Features
from transforms.store.schema import DEAD_LETTER_SCHEMA

ERRORS_FILE = "errors.parquet"
"""In the working directory, and in the model that came of it: a row an image that could not be used."""

_PIXELS_FILE, _INDEX_FILE = "pixels.uint8", "pixels.json"
_SAMPLE = 64  # images whose size is looked at
_LARGEST_SIDE = 224  # that is chosen unasked
_ENCODED = 32  # images a call
_ROOM = 1.05  # what must be free on the disk, as a multiple of the pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelOptions:
    """How images become pixels.

    Attributes:
      preprocessing: bytes to pixels.
      roots: folders below which local images must lie.
      split: shares by which images without a split of their own are divided.
      max_failures: dead letters that are allowed, a count or a share.
      threads: that read and decode; 0 for one a core.
      timeout_seconds: for one image.
    """

    preprocessing: Preprocessing
    roots: tuple[str, ...]
    split: SplitRatios
    max_failures: str = "50%"
    threads: int = 0
    timeout_seconds: float = 60.0

    def decoder(self) -> Decoder:
        """Returns what decodes."""
        return Decoder(
            preprocessing=self.preprocessing,
            roots=self.roots,
            ways=ways_to_work(self.threads, 0, usable_cores(), self.preprocessing),
            timeout_seconds=self.timeout_seconds,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
    """Decoded images.

    Attributes:
      array: ``uint8[N, height, width, 3]``, a file in memory's address space; rows of failed images are black.
      references: of the N images.
      sha256: of each file; empty for an image that failed.
      failures: images by the class of their error.
    """

    array: npt.NDArray[np.uint8]
    references: Sequence[ImageReference]
    sha256: Sequence[str]
    failures: dict[str, int]

    def splits(self, ratios: SplitRatios, place: str) -> Splits:
        """Returns the splits as embed and train would make them; a vector is the number of a row of ``array``.

        Raises:
          StoreError: as split_features.
        """
        rows: dict[str, list[int]] = {name: [] for name in SPLITS}
        for row, (reference, sha256) in enumerate(zip(self.references, self.sha256, strict=True)):
            if sha256:
                rows[reference.split or ratios.assign(reference.group or sha256)].append(row)
        return split_features({name: self.features(chosen) for name, chosen in rows.items()}, place)

    def features(self, rows: Sequence[int]) -> Features:
        """Returns what is known of some images; a vector is the number of the row."""
        chosen = [self.references[row] for row in rows]
        return Features(
            embeddings=np.array(rows, np.float32).reshape(-1, 1),  # exact up to 2**24 images
            image_ids=[reference.image_id for reference in chosen],
            image_uris=[reference.uri for reference in chosen],
            sha256=[self.sha256[row] for row in rows],
            labels=[reference.labels for reference in chosen],
            groups=[reference.group for reference in chosen],
            attributes=[dict(reference.attributes) for reference in chosen],
        )


def rows_of(examples: Examples) -> npt.NDArray[np.int64]:
    """Returns the numbers of the rows of pixels that stand in place of vectors."""
    return examples.vectors[:, 0].astype(np.int64)


def encode_rows(encoder: Encoder, array: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> Array:
    """Returns ``float32[N, D]``, the vectors of N rows of pixels."""
    vectors: Array = np.zeros((len(rows), encoder.specification.dimension), np.float32)
    for start in range(0, len(rows), _ENCODED):
        chosen = rows[start : start + _ENCODED]
        vectors[start : start + len(chosen)] = encoder.encode(array[chosen])
    return vectors


def list_references(sources: Iterable[Source]) -> list[ImageReference]:
    """Lists the images of all sources in the order in which they are best read, duplicates marked as such."""
    by_id: dict[str, list[ImageReference]] = collections.defaultdict(list)
    for source in sources:
        for reference in source.list_images():
            by_id[reference.image_id].append(reference)
    found = (reference for same in by_id.values() for _, reference, _ in plan_image(same, None))
    return sorted(found, key=_place)


def _place(reference: ImageReference) -> tuple[str, int, str]:
    member = reference.member
    return (member.container, member.ordinal, reference.uri) if member else (reference.uri, 0, "")


def listing_digest(references: Iterable[ImageReference]) -> str:
    """Returns 64 hexadecimal digits that change with any image, label, split or group."""
    total = hashlib.sha256()
    for reference in references:
        total.update(repr(tuple(reference)).encode("utf-8", "surrogatepass"))
    return total.hexdigest()


def usual_size(sources: Sequence[Source], references: Sequence[ImageReference]) -> int:
    """Returns the side of a square about as large as the images are, and at most 224 pixels.

    Raises:
      InputError: none of the first images can be read.
    """
    preprocessing = Preprocessing(height=8, width=8)
    decoder = PixelOptions(preprocessing=preprocessing, roots=roots_of(sources), split=SplitRatios(1, 0, 0)).decoder()
    outcomes = list(decoder.decode(references[:: max(1, len(references) // _SAMPLE)][:_SAMPLE]))
    decoder.close()
    sides = [min(one.width, one.height) for one in outcomes if not isinstance(one, DeadLetter)]
    if not sides:
        letters = [one for one in outcomes if isinstance(one, DeadLetter)]
        raise InputError(f"no image can be read, for example {letters[0].reference.uri}: {letters[0].error}")
    return max(8, min(_LARGEST_SIDE, int(np.median(sides))))


def read_pixels(references: Sequence[ImageReference], options: PixelOptions, directory: str) -> Pixels:
    """Decodes images into ``directory``, unless an earlier call has done so.

    Raises:
      OptionError: the disk has too little room.
      TooManyFailuresError: more images failed than are allowed.
    """
    size = options.preprocessing
    shape = (len(references), size.height, size.width, 3)
    path, index_path = os.path.join(directory, _PIXELS_FILE), os.path.join(directory, _INDEX_FILE)
    if not os.path.exists(index_path):
        _check_room(directory, path, shape)
        array = np.memmap(path, np.uint8, "w+", shape=shape)
        index = _decode(references, options, array, os.path.join(directory, ERRORS_FILE))
        array.flush()
        with open(f"{index_path}.tmp", "w", encoding="utf-8") as stream:
            json.dump(index, stream)
        os.replace(f"{index_path}.tmp", index_path)
    with open(index_path, encoding="utf-8") as stream:
        index = json.load(stream)
    failed = sum(index["failures"].values())
    if failed > allowed_failures(options.max_failures, len(references)):
        raise TooManyFailuresError(
            f"{failed:,} of {len(references):,} images cannot be used, more than --max-failures "
            f"{options.max_failures}; for example {index['example']}"
        )
    array = np.memmap(path, np.uint8, "r", shape=shape)
    return Pixels(array=array, references=references, sha256=index["sha256"], failures=index["failures"])


def given_pixels(flags: argparse.Namespace, preprocessing: Preprocessing, most: int) -> tuple[Pixels, int]:
    """Decodes the first ``most`` images of ``--input``; returns them, and how many are listed.

    Args:
      flags: those of inputs.add_source_flags.
      preprocessing: bytes to pixels.
      most: images.

    Raises:
      InputError: there is none.
      TooManyFailuresError: more of them failed than are allowed.
    """
    sources = inputs.given_input(flags).recognise()
    options = PixelOptions(
        preprocessing=preprocessing,
        roots=roots_of(sources),
        split=SplitRatios.parse("80/10/10"),
        max_failures=inputs.check_max_failures(flags.max_failures),
        threads=flags.threads or 0,
        timeout_seconds=flags.image_timeout,
    )
    references = list_references(sources)
    with tempfile.TemporaryDirectory() as directory:
        read = read_pixels(references[:most], options, directory)
        return dataclasses.replace(read, array=np.array(read.array)), len(references)


def _check_room(directory: str, path: str, shape: tuple[int, ...]) -> None:
    free = shutil.disk_usage(directory).free + (os.path.getsize(path) if os.path.exists(path) else 0)
    needed = int(np.prod(shape, dtype=np.int64) * _ROOM)
    if needed > free:
        raise OptionError(
            f"{shape[0]:,} images of {shape[1]}x{shape[2]} pixels take {needed / 1e9:.1f} GB, and {directory} has "
            f"{free / 1e9:.1f} GB left; name another place with --work-dir"
        )


def _decode(
    references: Sequence[ImageReference], options: PixelOptions, array: npt.NDArray[np.uint8], errors: str
) -> dict[str, object]:
    """Fills ``array``; returns what the index holds."""
    sha256: list[str] = []
    letters: list[DeadLetter] = []
    line = StatusLine()
    decoder = options.decoder()
    for row, outcome in enumerate(decoder.decode(references)):
        if isinstance(outcome, DeadLetter):
            letters.append(outcome)
            sha256.append("")
        else:
            assert outcome.pixels is not None
            array[row] = outcome.pixels
            sha256.append(outcome.sha256)
        line.update(f"decoding {row + 1:,} of {len(references):,} images")
    decoder.close()
    line.end()
    if letters:
        rows = [letter.to_row("") for letter in letters]
        write_letters(errors, pa.Table.from_pylist(rows, schema=DEAD_LETTER_SCHEMA))
    return {
        "sha256": sha256,
        "failures": dict(collections.Counter(letter.error.error_class.value for letter in letters)),
        "example": f"{letters[0].reference.uri}: {letters[0].error}" if letters else "",
    }

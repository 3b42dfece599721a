"""The rows that the report of a training measures and maps: of a table, or the images that a network was trained on."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Protocol

import numpy as np

from pipelines.report.table_sample import sample_rows
from pipelines.training.features import Splits
from pipelines.training.pixels import Pixels, encode_rows, rows_of
from transforms.encoders.engines import where_installed
from transforms.encoders.resolve import load_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import HeliographError, ModelError
from transforms.files.filesystem import join
from transforms.model.directory import ModelDirectory, versions
from transforms.model.head import Head
from transforms.sources.reference import SPLITS
from transforms.store.read import Features
from transforms.store.table import FeatureTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Before:
    """The model that a new one is compared with.

    Attributes:
      name: of it, for people.
      head: of it.
      features: the same images, as its encoder sees them.
    """

    name: str
    head: Head
    features: Features


class Rows(Protocol):
    """What a page may look at."""

    @property
    def specification(self) -> EncoderSpecification:
        """Of the encoder that made the vectors."""

    @property
    def total(self) -> int:
        """How many there are."""

    def sample(self, count: int, split: str = "") -> Features:
        """Returns at most ``count`` rows of a split, or of all, the same every time."""

    def before(self, model: str, head: Head, features: Features) -> Before | None:
        """Returns the model to compare with on ``features``; None when there is none that fits.

        Args:
          model: MODEL, in which the new version will be.
          head: of the new version.
          features: that sample returned.
        """

    def describe(self) -> dict[str, str]:
        """Returns lines for people, by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRows:
    """Rows of a table.

    Attributes:
      table: that a head was fitted on.
      held_out: validation was taken out of its training split, so that no row can be told to be of it.
    """

    table: FeatureTable
    held_out: bool = False

    @property
    def specification(self) -> EncoderSpecification:
        """Of the table's encoder."""
        return self.table.specification

    @property
    def total(self) -> int:
        """Rows of the table."""
        return sum(file.rows for file in self.table.data_files())

    def sample(self, count: int, split: str = "") -> Features:
        """As Rows."""
        files = [] if self.held_out and split == "validation" else self.table.data_files()
        return sample_rows(files, self.specification.dimension, count, splits=[split] if split else None)

    def before(self, model: str, head: Head, features: Features) -> Before | None:
        """The newest sound version of the model, if its head takes the same encoder's vectors."""
        found = _newest(model)
        if found is None or found.encoder.fingerprint != self.specification.fingerprint:
            return None
        same = found.head.activation == head.activation
        return Before(name=f"version {found.version}", head=found.head, features=features) if same else None

    def describe(self) -> dict[str, str]:
        """As Rows."""
        return {"Table": f"{self.table.path}, version {self.table.version}"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelRows:
    """The images that a network was trained and measured on.

    Attributes:
      specification: of the encoder that it is.
      pixels: of all images.
      splits: vectors are the numbers of rows of the pixels.
      encoded: the same with the encoder's vectors.
      start: address of the model that it began with; empty for one from scratch.
      inputs: that were read.
      trust_model: load encoders that carry code.
    """

    specification: EncoderSpecification
    pixels: Pixels
    splits: Splits
    encoded: Splits
    start: str
    inputs: tuple[str, ...]
    trust_model: bool

    @property
    def total(self) -> int:
        """Labelled images."""
        return sum(len(getattr(self.splits, name).targets) for name in SPLITS)

    def sample(self, count: int, split: str = "") -> Features:
        """As Rows."""
        names = [split] if split else list(SPLITS)
        ends = np.cumsum([0, *(len(getattr(self.splits, name).targets) for name in names)])
        chosen = np.sort(np.random.default_rng(0).permutation(ends[-1])[:count])
        rows, vectors, shown = [np.zeros(0, np.int64)], [self.encoded.train.vectors[:0]], list[str]()
        for name, first, end in zip(names, ends, ends[1:], strict=False):
            own = chosen[(chosen >= first) & (chosen < end)] - first
            rows.append(rows_of(getattr(self.splits, name))[own])
            vectors.append(getattr(self.encoded, name).vectors[own])
            shown += [name] * len(own)
        found = self.pixels.features(np.concatenate(rows).tolist())
        return dataclasses.replace(found, embeddings=np.concatenate(vectors), splits=shown)

    def before(self, model: str, head: Head, features: Features) -> Before | None:
        """The model that it began with, else the newest sound version, if it takes the same pixels."""
        with contextlib.suppress(HeliographError):
            found = ModelDirectory.open(self.start) if self.start else _newest(model)
            if found is None or found.head.activation != head.activation:
                return None
            if found.encoder.preprocessing != self.specification.preprocessing:
                return None
            wanted = set(features.image_ids)
            rows = {one.image_id: row for row, one in enumerate(self.pixels.references) if one.image_id in wanted}
            chosen = np.array([rows[image] for image in features.image_ids], np.int64)
            encoder = load_encoder(where_installed(found.encoder), trust_model=self.trust_model, beside=found.path)
            vectors = encode_rows(encoder, self.pixels.array, chosen)
            name = "the model it began with" if self.start else f"version {found.version}"
            return Before(name=name, head=found.head, features=dataclasses.replace(features, embeddings=vectors))
        return None

    def describe(self) -> dict[str, str]:
        """As Rows."""
        return {"Images": ", ".join(self.inputs)}


def _newest(model: str) -> ModelDirectory | None:
    for version in reversed(versions(model)):
        with contextlib.suppress(ModelError):
            return ModelDirectory.open(join(model, str(version)))
    return None

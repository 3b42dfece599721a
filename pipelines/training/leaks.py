"""The leak guard: images of validation and test that training has seen, in another file or nearly the same."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.training.near_duplicates import Rows, Space, nearest_above
from transforms.errors import OptionError, StoreError
from transforms.model.head import Array
from transforms.sources.reference import SPLITS
from transforms.store.read import Features

DEFAULT_THRESHOLD = 0.985
"""Cosine of near duplicates; docs/training.md says on which photographs it was chosen."""

LEAST_DIMENSION = 32
"""Shorter vectors are often alike by chance: of them, only images of the same content count as duplicates."""

CHECK, FIX, OFF = "check", "fix", "off"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeakSettings:
    """What the leak guard does.

    Attributes:
      action: ``check`` finds and tells, ``fix`` moves to one side as well, ``off`` does nothing.
      threshold: cosine from which on two images are near duplicates, in (0, 1].
    """

    action: str = CHECK
    threshold: float = DEFAULT_THRESHOLD

    def __post_init__(self) -> None:
        if not 0.5 <= self.threshold <= 1:
            raise OptionError(
                f"--leak-threshold must be in [0.5, 1], such as {DEFAULT_THRESHOLD}, got {self.threshold:g}: below, "
                "images that have nothing to do with each other are duplicates"
            )


def add_leak_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--leak-threshold``, ``--fix-leaks`` and ``--no-leak-check``."""
    parser.add_argument(
        "--leak-threshold",
        type=float,
        metavar="COSINE",
        help=f"images of two splits that are this alike are near duplicates (default: {DEFAULT_THRESHOLD})",
    )
    parser.add_argument(
        "--fix-leaks",
        action="store_true",
        help="move duplicates that lie in two splits to one of them, and tell the accuracy before and after",
    )
    parser.add_argument("--no-leak-check", action="store_true", help="do not look for duplicates across splits")


def leak_settings(flags: argparse.Namespace) -> LeakSettings:
    """Returns the settings that the flags name.

    Raises:
      OptionError: flags that contradict each other, or a threshold that is none.
    """
    if flags.no_leak_check and (flags.fix_leaks or flags.leak_threshold is not None):
        other = "--fix-leaks" if flags.fix_leaks else "--leak-threshold"
        raise OptionError(f"--no-leak-check looks for nothing, so {other} has no effect; leave one of them out")
    threshold = DEFAULT_THRESHOLD if flags.leak_threshold is None else flags.leak_threshold
    return LeakSettings(action=OFF if flags.no_leak_check else FIX if flags.fix_leaks else CHECK, threshold=threshold)


def leak_arguments(settings: LeakSettings) -> list[str]:
    """Returns the flags of what differs from the default, the inverse of leak_settings."""
    action = {CHECK: [], FIX: ["--fix-leaks"], OFF: ["--no-leak-check"]}[settings.action]
    changed = settings.threshold != DEFAULT_THRESHOLD
    return [*action, *(["--leak-threshold", str(settings.threshold)] if changed else [])]


class Leak(NamedTuple):
    """An image and its nearest duplicate in an earlier split.

    Attributes:
      split: of the image: validation or test.
      row: of the image in its split's features.
      twin_split: train, or validation for an image of test.
      twin_row: of the duplicate in its split's features.
      cosine: 1 for the same content.
      exact: whether both have the same content, byte for byte.
    """

    split: str
    row: int
    twin_split: str
    twin_row: int
    cosine: float
    exact: bool


def find_leaks(features: Mapping[str, Features], threshold: float) -> list[Leak]:
    """Finds the labelled images of validation and test that have a duplicate in an earlier split.

    Memory beside the vectors is 200 bytes an image and one block of products: never all pairs at once.

    Args:
      features: of each split, with sha256, labels and view_ids.
      threshold: as LeakSettings.

    Returns:
      A leak for each image and each earlier split, the most alike first.
    """
    finder = _Finder(features, threshold)
    leaks: list[Leak] = []
    for later, split in enumerate(SPLITS):
        for twin_split in SPLITS[:later]:
            twins = zip(finder.rows[split].tolist(), *finder.twins(split, twin_split), strict=True)
            leaks += [
                Leak(split, row, twin_split, twin, cosine, exact) for row, twin, cosine, exact in twins if twin >= 0
            ]
    return sorted(leaks, key=lambda leak: (-leak.exact, -leak.cosine, SPLITS.index(leak.split), leak.row))


def fix_leaks(features: Mapping[str, Features], threshold: float, place: str) -> tuple[dict[str, Features], int]:
    """Moves images that have a duplicate in an earlier split to that split, until there are none.

    With an image goes the rest of its group. What is left of test has no duplicate in training or validation, what
    is left of validation none in training.

    Args:
      features: as find_leaks.
      threshold: as LeakSettings.
      place: of the table, for messages.

    Returns:
      The features, and how many images were moved.

    Raises:
      StoreError: the test split would be empty.
    """
    finder = _Finder(features, threshold)
    sides = {split: np.full(len(features[split].embeddings), number) for number, split in enumerate(SPLITS)}
    for side in range(len(SPLITS) - 1):
        pool = {split: np.intersect1d(finder.rows[split], np.flatnonzero(sides[split] == side)) for split in SPLITS}
        while any(rows.size for rows in pool.values()):
            later = {split: np.flatnonzero(sides[split] > side) for split in SPLITS}
            pool = finder.duplicates(later, pool)
            for split, rows in pool.items():
                sides[split][rows] = side
    fixed = {
        split: _join([_take(features[home], np.flatnonzero(sides[home] == side)) for home in SPLITS])
        for side, split in enumerate(SPLITS)
    }
    if len(features["test"].embeddings) and not len(fixed["test"].embeddings):
        raise StoreError(
            f"{place}: every image of the test split has a duplicate in another one (cosine {threshold:g}), so "
            "--fix-leaks would leave none; raise --leak-threshold, or split anew with a group for what belongs together"
        )
    return fixed, sum(int((sides[split] != number).sum()) for number, split in enumerate(SPLITS))


class _Finder:
    """Finds duplicates among the labelled images, without their augmented views; unlabelled ones train nothing."""

    def __init__(self, features: Mapping[str, Features], threshold: float) -> None:
        self._features, self._threshold = features, threshold
        self.rows = {split: labelled_images(features[split]) for split in SPLITS}
        vectors = [features[split].embeddings for split in SPLITS if len(features[split].embeddings)]
        self._space = Space.of(vectors[0]) if vectors and vectors[0].shape[1] >= LEAST_DIMENSION else None

    def twins(
        self, split: str, twin_split: str, rows: Rows | None = None, twin_rows: Rows | None = None
    ) -> tuple[list[int], list[float], list[bool]]:
        """Returns each row's twin, or -1; their cosine; and whether the content is the same. All rows by default."""
        rows = self.rows[split] if rows is None else rows
        twin_rows = self.rows[twin_split] if twin_rows is None else twin_rows
        content, twin_content = self._features[split].sha256, self._features[twin_split].sha256
        first = {twin_content[row]: row for row in reversed(twin_rows.tolist()) if twin_content[row]}
        same = np.array([first.get(content[row], -1) for row in rows.tolist()], np.int64)
        found, cosines = np.full(len(rows), -1), np.zeros(len(rows), np.float32)
        if self._space is not None and len(rows) and len(twin_rows):
            vectors, pool = _vectors(self._features[split], rows), _vectors(self._features[twin_split], twin_rows)
            nearest, cosines = nearest_above(self._space, vectors, pool, self._threshold)
            found = np.where(nearest >= 0, twin_rows[nearest], -1)
        exact = same >= 0
        return np.where(exact, same, found).tolist(), np.where(exact, 1.0, cosines).tolist(), exact.tolist()

    def duplicates(self, candidates: Mapping[str, Rows], pool: Mapping[str, Rows]) -> dict[str, Rows]:
        """Returns the candidates with a duplicate in ``pool``, and those that share a group with one of these."""
        found: dict[str, Rows] = {}
        for split, rows in candidates.items():
            labelled = np.intersect1d(rows, self.rows[split])
            hit = np.zeros(len(labelled), np.bool_)
            for twin_split, twin_rows in pool.items():
                hit |= np.array(self.twins(split, twin_split, labelled, twin_rows)[0], np.int64) >= 0
            found[split] = labelled[hit]
        groups = {self._features[split].groups[row] for split, rows in found.items() for row in rows.tolist()} - {""}
        for split, rows in candidates.items():
            names = self._features[split].groups
            together = [row for row in rows.tolist() if names[row] in groups]
            found[split] = np.union1d(found[split], np.array(together, np.int64))
        return found


def labelled_images(features: Features) -> Rows:
    """Returns the rows that have a label and are no augmented views."""
    labelled = np.array([bool(labels) for labels in features.labels], np.bool_)
    return np.flatnonzero(labelled & (features.view_ids == 0) if len(features.view_ids) else labelled)


def _vectors(features: Features, rows: Rows) -> Array:
    vectors: Array = features.embeddings
    return vectors if len(rows) == len(vectors) else vectors[rows]


def _take(features: Features, rows: Rows) -> Features:
    return features if len(rows) == len(features.embeddings) else features.take(rows)


def _join(parts: Sequence[Features]) -> Features:
    filled = [part for part in parts if len(part.embeddings)] or parts[:1]
    if len(filled) == 1:
        return filled[0]
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(Features):
        pieces = [getattr(part, field.name) for part in filled]
        arrays = isinstance(pieces[0], np.ndarray)
        columns[field.name] = np.concatenate(pieces) if arrays else list(itertools.chain.from_iterable(pieces))
    return Features(**columns)

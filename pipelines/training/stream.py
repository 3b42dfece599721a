"""Features beyond memory: a head fitted while they are read, shuffled by blocks, again for every pass."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.options import positive
from pipelines.training.class_weights import parse_class_weights
from pipelines.training.features import SEVERAL, Examples, Splits
from pipelines.training.fit_head import Fit, best_of, l2_path, weighted_loss
from pipelines.training.fit_settings import FitSettings
from pipelines.training.stack import HeadStack, Members, Rows
from pipelines.training.standardise import standardisation
from transforms.errors import OptionError, StoreError
from transforms.files.filesystem import open_filesystem
from transforms.files.threads import read_ahead
from transforms.machine.memory import usable_memory
from transforms.model.head import Head
from transforms.sources.reference import SPLITS
from transforms.store.read import Selection, aligned_matrix, file_errors, fill_vectors, read_row_group
from transforms.store.table import FeatureTable

BLOCK_BYTES = 256 * 2**20
"""Vectors that are shuffled together."""

HELD_BYTES = 256 * 2**20
"""Vectors of the validation split, and of the test split, that are measured on."""

PASS_ROWS = 1_000_000
"""Training rows, about, after which the validation loss is measured: of more, a pass goes through a part."""

_SHARE = 0.4  # of the machine's memory, the limit by default
_LABELS = ["split", "labels", "view_id"]


class Group(NamedTuple):
    """A row group of a data file.

    Attributes:
      file: that it is in.
      footer: of the file.
      number: of the row group.
      splits: ``int8[rows]``, the place in SPLITS of each row with a label, -1 for rows that are not used.
      targets: ``int32[rows]``, the class of each row; -1 for a label that no training row has.
    """

    file: str
    footer: pq.FileMetaData
    number: int
    splits: npt.NDArray[np.int8]
    targets: npt.NDArray[np.int32]

    def rows_of(self, place: int) -> npt.NDArray[np.int64]:
        """Returns the rows of a split, by its place in SPLITS."""
        return np.flatnonzero((self.splits == place) & (self.targets >= 0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """When features are streamed.

    Attributes:
      memory_limit: of the features in memory, in GB (10⁹ bytes); None for a share of the machine's.
    """

    memory_limit: float | None = None

    def is_beyond(self, table: FeatureTable) -> bool:
        """Returns whether the table's vectors are larger than the limit."""
        size = 4 * table.specification.dimension * sum(file.rows for file in table.data_files())
        return size > (_SHARE * usable_memory() if self.memory_limit is None else self.memory_limit * 1e9)


def add_stream_flags(parser: argparse.ArgumentParser) -> None:
    """Adds ``--memory-limit``."""
    parser.add_argument(
        "--memory-limit",
        type=positive(float),
        metavar="GB",
        help=f"above it features are read again for every pass (default: {_SHARE:.0%}% of the machine's memory)",
    )


def stream_arguments(settings: StreamSettings) -> list[str]:
    """Returns the flag again."""
    return [] if settings.memory_limit is None else ["--memory-limit", f"{settings.memory_limit:g}"]


def fit_streamed(table: FeatureTable, settings: FitSettings) -> tuple[Splits, Fit]:
    """Fits a head on a table that need not fit into memory.

    A pass goes through blocks of row groups in random order and through the rows of a block in random order. Of many
    rows it is a part of them, as PASS_ROWS says, the next pass takes the next part, and so on.
    Mean and deviation are those of one block's rows, taken from the whole table; of the validation and test splits
    as many rows are kept as HELD_BYTES hold.

    Returns:
      Splits, whose training vectors are left out, and the fit.

    Raises:
      StoreError: no labels, one class only, several labels an image, no validation split, vectors that are not finite.
      OptionError: the loss became infinite.
    """
    labels, groups = _survey(table)
    if len(labels) < 2:
        raise StoreError(f"the training split of {table.path} has {len(labels)} classes; a head needs two or more")
    reader = _Reader(groups, table.specification.dimension, settings.seed)
    validation, test = (reader.sample(place, HELD_BYTES) for place in (1, 2))
    if not len(validation.targets):
        raise StoreError(
            f"{table.path} has no validation split, which features beyond memory need; embed with --split 80/10/10, "
            "or raise --memory-limit"
        )
    counts = sum(np.bincount(group.targets[group.rows_of(0)], minlength=len(labels)) for group in groups)
    fit = _fit_blocks(reader, validation, np.asarray(counts), labels, settings)
    return _splits(table, labels, np.asarray(counts), validation, test, reader.counts), fit


def _fit_blocks(
    reader: _Reader, validation: Examples, class_counts: np.ndarray, labels: tuple[str, ...], settings: FitSettings
) -> Fit:
    """Goes through the blocks until the validation loss stops falling."""
    mean, std = standardisation(reader.sample(0, BLOCK_BYTES).vectors)
    weights = parse_class_weights(settings.class_weights, labels, class_counts)
    room = reader.room()
    stack = HeadStack(room, validation, mean, std, classes=len(labels), settings=settings)
    rows = int(class_counts.sum())
    path = l2_path(settings, rows)
    members = Members(
        l2=np.array(path, np.float32),
        rates=np.full(len(path), settings.first_rate(rows), np.float32),
        class_weights=np.tile(weights, (len(path), 1)),
    )
    found = stack.fit(members, settings.schedule(rows), refill=lambda: reader.refill(room))
    arrays, attempts = best_of(found, path, settings)
    head = Head(labels=labels, mean=mean, std=std, layers=tuple(zip(arrays[::2], arrays[1::2], strict=True)))
    return Fit(
        head=head,
        validation_loss=weighted_loss(head, validation, weights),
        epochs=found.passes,
        attempts=tuple(attempts),
    )


def _splits(
    table: FeatureTable,
    labels: tuple[str, ...],
    counts: np.ndarray,
    validation: Examples,
    test: Examples,
    there: Sequence[int],
) -> Splits:
    size = 4 * table.specification.dimension * sum(file.rows for file in table.data_files())
    warnings = [f"the features ({size / 1e9:.1f} GB) were streamed; leaks, sweeps and learning curves were left out"]
    for index, part in enumerate((validation, test), 1):
        if len(part.targets) < there[index]:
            warnings.append(
                f"{len(part.targets):,} of {there[index]:,} images of the {SPLITS[index]} split are measured on"
            )
    nothing = np.empty((0, table.specification.dimension), np.float32)
    targets = np.repeat(np.arange(len(labels), dtype=np.int32), counts)
    return Splits(
        labels=labels,
        foreign_labels=(),
        train=Examples(vectors=nothing, targets=targets),
        validation=validation,
        test=test,
        folds=np.zeros(0, np.int64),
        keys=(),
        held_out=False,
        warnings=tuple(warnings),
    )


def _survey(table: FeatureTable) -> tuple[tuple[str, ...], list[Group]]:
    """Returns the labels of the training split, sorted, and the row groups; vectors are not read."""
    places = dict[str, int]()  # of each label, in the order they come
    groups = [group for file in table.data_files() for group in _survey_file(file.uri, places, table.path)]
    there = np.zeros(len(places), np.bool_)
    for group in groups:
        there[group.targets[group.splits == 0]] = True
    labels = tuple(sorted(name for name, place in places.items() if there[place]))
    numbers = np.full(len(places) + 1, -1, np.int32)
    numbers[[places[name] for name in labels]] = np.arange(len(labels))
    return labels, [group._replace(targets=numbers[group.targets]) for group in groups]


def _survey_file(uri: str, places: dict[str, int], table: str) -> Iterator[Group]:
    """Yields the row groups of a file; a label that is new gets the next number in ``places``."""
    root, path = open_filesystem(uri)
    with file_errors(path), root.open_input_file(path) as source:
        file = pq.ParquetFile(source)
        for number in range(file.num_row_groups):
            found = read_row_group(file, number, _LABELS, Selection()).combine_chunks()
            lengths = pc.fill_null(pc.list_value_length(found.column("labels")), 0).to_numpy()
            if (lengths > 1).any():
                raise StoreError(
                    f"{table} has images with several labels, and its features are beyond memory: that is not "
                    "supported; raise --memory-limit"
                )
            splits = pc.fill_null(pc.index_in(found.column("split"), pa.array(SPLITS)), -1).to_numpy().astype(np.int8)
            splits[(lengths == 0) | ((splits > 0) & (found.column("view_id").to_numpy() != 0))] = -1
            names = pc.list_flatten(found.column("labels")).combine_chunks().dictionary_encode()
            own = [places.setdefault(name, len(places)) for name in names.dictionary.to_pylist()]
            targets = np.full(len(lengths), -1, np.int32)
            targets[lengths == 1] = np.array(own, np.int32)[names.indices.to_numpy()]
            yield Group(uri, file.metadata, number, splits, targets)


class _Reader:
    """Row groups to vectors and targets.

    Attributes:
      counts: rows of each split, by its place in SPLITS.
    """

    def __init__(self, groups: Sequence[Group], dimension: int, seed: int) -> None:
        self._groups, self._dimension = groups, dimension
        self._generator = np.random.default_rng(seed)
        self._parts: list[list[Group]] = []
        self.counts = [sum(len(group.rows_of(place)) for group in groups) for place in range(len(SPLITS))]

    def room(self) -> Examples:
        """Returns room for two blocks: one is read while the other is learnt from."""
        largest = max(len(group.rows_of(0)) for group in self._groups)
        rows = 2 * min(max(BLOCK_BYTES // (4 * self._dimension), largest), self.counts[0])
        return Examples(
            vectors=aligned_matrix(rows, self._dimension), targets=aligned_matrix(rows, 1)[:, 0].view(np.int32)
        )

    def refill(self, room: Examples) -> Iterator[Rows]:
        """Fills one half of the room, then the other, and so on until the pass is over; yields their rows."""
        half, waiting = len(room.targets) // 2, self._next_part()
        starts = itertools.cycle((0, half))
        filled = (self._fill(room, start, half, waiting) for start in starts)
        yield from read_ahead(itertools.takewhile(len, filled))

    def _next_part(self) -> list[Group]:
        """Returns the row groups of the next pass, in random order."""
        if not self._parts:
            order = self._generator.permutation(len(self._groups)).tolist()
            parts = min(len(order), max(1, round(self.counts[0] / PASS_ROWS)))
            self._parts = [[self._groups[index] for index in order[start::parts]] for start in range(parts)]
        return self._parts.pop()

    def _fill(self, room: Examples, start: int, most: int, waiting: list[Group]) -> Rows:
        """Takes row groups until ``most`` rows are there; returns the rows of the room."""
        filled = start
        while waiting:
            rows = waiting[-1].rows_of(0)
            end = filled + len(rows)
            if end > start + most:
                break
            self._read(waiting.pop(), rows, room.vectors[filled:end], room.targets[filled:end])
            filled = end
        return np.arange(start, filled)

    def sample(self, place: int, size: int) -> Examples:
        """Returns as many rows of a split as ``size`` bytes hold, evenly from all row groups; of few, all."""
        share = min(1.0, max(1, size // (4 * self._dimension)) / max(self.counts[place], 1))
        generator = np.random.default_rng([place, self.counts[place]])
        chosen = [generator.permutation(group.rows_of(place)) for group in self._groups]
        chosen = [np.sort(rows[: int(len(rows) * share + generator.random())]) for rows in chosen]
        total = sum(map(len, chosen))
        vectors, targets, filled = aligned_matrix(total, self._dimension), np.zeros(total, np.int32), 0
        for rows, group in zip(chosen, self._groups, strict=True):
            end = filled + len(rows)
            self._read(group, rows, vectors[filled:end], targets[filled:end])
            filled = end
        return Examples(vectors=vectors, targets=targets)

    def _read(self, group: Group, rows: Rows, vectors: np.ndarray, targets: np.ndarray) -> None:
        """Reads rows of a row group into ``vectors`` and ``targets``."""
        if not len(rows):
            return
        whole = len(rows) == len(group.splits)
        read = vectors if whole else np.empty((len(group.splits), self._dimension), np.float32)
        root, path = open_filesystem(group.file)
        with file_errors(path), root.open_input_file(path) as source:
            fill_vectors(source, group.footer, group.number, read, path)
        if not whole:
            np.take(read, rows, axis=0, out=vectors, mode="clip")  # else numpy would fill a copy first
        targets[:] = group.targets[rows]
        if not np.isfinite(vectors).all():
            raise StoreError(f"{path}: vectors have NaN or infinity; embed its images again")


def check_streamed(fit: FitSettings, asked: dict[str, Any]) -> None:
    """Refuses what needs all features in memory.

    Args:
      fit: settings of the head.
      asked: by flag, whether it was asked for.

    Raises:
      OptionError: naming the flag and the remedy.
    """
    found = [flag for flag, wanted in asked.items() if wanted]
    if fit.labels_per_image == SEVERAL:
        found.append("--labels-per-image several")
    if fit.solver == "adam":
        found.append("--solver adam")
    if found:
        raise OptionError(f"{found[0]} needs the features in memory, and they are beyond --memory-limit; raise it")

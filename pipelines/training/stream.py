"""Features beyond memory: a head fitted while they are read, shuffled by blocks, again for every pass."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.options import positive
from pipelines.training.class_weights import parse_class_weights
from pipelines.training.features import SEVERAL, Examples, Splits
from pipelines.training.fit_head import Fit, best_of, l2_path, weighted_loss
from pipelines.training.fit_settings import FitSettings
from pipelines.training.stack import HeadStack, Members
from pipelines.training.standardise import standardisation
from transforms.errors import OptionError, StoreError
from transforms.files.filesystem import open_filesystem
from transforms.model.head import Head
from transforms.sources.reference import SPLITS
from transforms.store.read import Selection, aligned_matrix, file_errors, read_row_group, vectors_of
from transforms.store.table import FeatureTable

BLOCK_BYTES = 256 * 2**20
"""Vectors that are shuffled together."""

HELD_BYTES = 256 * 2**20
"""Vectors of the validation split, and of the test split, that are measured on."""

_SHARE = 0.4  # of the machine's memory, the limit by default
_LABELS = ["split", "labels", "view_id"]


class Group(NamedTuple):
    """A row group of a data file, and the rows of each split in it that have a label, by their order in SPLITS."""

    file: str
    number: int
    rows: tuple[int, ...]


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
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return size > (_SHARE * machine if self.memory_limit is None else self.memory_limit * 1e9)


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

    A pass goes through blocks of row groups in random order and through the rows of a block in random order.
    Mean and deviation are those of one block's rows, taken from the whole table; of the validation and test splits
    as many rows are kept as HELD_BYTES hold.

    Returns:
      Splits, whose training vectors are left out, and the fit.

    Raises:
      StoreError: no labels, one class only, several labels an image, no validation split, vectors that are not finite.
      OptionError: the loss became infinite.
    """
    groups, counts = _survey(table)
    labels = tuple(sorted(counts))
    reader = _Reader(table, groups, labels, settings.seed)
    if len(labels) < 2:
        raise StoreError(f"the training split of {table.path} has {len(labels)} classes; a head needs two or more")
    validation, test = (reader.sample(split, HELD_BYTES) for split in SPLITS[1:])
    if not len(validation.targets):
        raise StoreError(
            f"{table.path} has no validation split, which features beyond memory need; embed with --split 80/10/10, "
            "or raise --memory-limit"
        )
    class_counts = np.array([counts[label] for label in labels])
    fit = _fit_blocks(reader, validation, class_counts, labels, settings)
    return _splits(table, labels, class_counts, validation, test, groups), fit


def _fit_blocks(
    reader: _Reader, validation: Examples, class_counts: np.ndarray, labels: tuple[str, ...], settings: FitSettings
) -> Fit:
    """Goes through the blocks until the validation loss stops falling."""
    mean, std = standardisation(reader.sample(SPLITS[0], BLOCK_BYTES).vectors)
    weights = parse_class_weights(settings.class_weights, labels, class_counts)
    block = reader.block()
    stack = HeadStack(block, validation, mean, std, classes=len(labels), settings=settings)
    rows = int(class_counts.sum())
    path = l2_path(settings, rows)
    members = Members(
        l2=np.array(path, np.float32),
        rates=np.full(len(path), settings.rate, np.float32),
        class_weights=np.tile(weights, (len(path), 1)),
    )
    found = stack.fit(members, settings.schedule(rows), refill=lambda: reader.refill(block))
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
    groups: Sequence[Group],
) -> Splits:
    size = 4 * table.specification.dimension * sum(file.rows for file in table.data_files())
    warnings = [f"the features ({size / 1e9:.1f} GB) were streamed; leaks, sweeps and learning curves were left out"]
    for index, part in enumerate((validation, test), 1):
        there = sum(group.rows[index] for group in groups)
        if len(part.targets) < there:
            warnings.append(f"{len(part.targets):,} of {there:,} images of the {SPLITS[index]} split are measured on")
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


def _survey(table: FeatureTable) -> tuple[list[Group], dict[str, int]]:
    """Returns the row groups, and how many training rows each label has; vectors are not read."""
    groups, counts = [], dict[str, int]()
    for file in table.data_files():
        root, path = open_filesystem(file.uri)
        with file_errors(path), root.open_input_file(path) as source:
            opened = pq.ParquetFile(source)
            for number in range(opened.num_row_groups):
                found = read_row_group(opened, number, _LABELS, Selection())
                lengths = pc.fill_null(pc.list_value_length(found.column("labels")), 0).to_numpy()
                if (lengths > 1).any():
                    raise StoreError(
                        f"{table.path} has images with several labels, and its features are beyond memory: that is not "
                        "supported; raise --memory-limit"
                    )
                split = found.column("split").to_numpy(zero_copy_only=False)
                mine = [_wanted(split, found.column("view_id").to_numpy(), name) & (lengths == 1) for name in SPLITS]
                groups.append(Group(file.uri, number, tuple(int(mask.sum()) for mask in mine)))
                names = found.column("labels").filter(pa.array(mine[0])).combine_chunks().flatten()
                for entry in pc.value_counts(names).to_pylist():
                    counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    return groups, counts


def _wanted(split: np.ndarray, views: np.ndarray, name: str) -> np.ndarray:
    """Augmented views are for training only."""
    mask: np.ndarray = (split == name) & ((views == 0) | (name == SPLITS[0]))
    return mask


class _Reader:
    """Row groups to vectors and targets."""

    def __init__(self, table: FeatureTable, groups: Sequence[Group], labels: Sequence[str], seed: int) -> None:
        self._table, self._groups = table, groups
        self._labels = pa.array(labels, pa.string())
        self._dimension = table.specification.dimension
        self._generator = np.random.default_rng(seed)
        self._footers: dict[str, pq.FileMetaData] = {}  # read once a file, not once a row group

    def block(self) -> Examples:
        """Returns room for one block."""
        largest = max(group.rows[0] for group in self._groups)
        rows = max(BLOCK_BYTES // (4 * self._dimension), largest)
        rows = min(rows, sum(group.rows[0] for group in self._groups))
        return Examples(
            vectors=aligned_matrix(rows, self._dimension), targets=aligned_matrix(rows, 1)[:, 0].view(np.int32)
        )

    def refill(self, block: Examples) -> Iterator[int]:
        """Fills the room with one block after the other; yields how many rows are in it.

        While a block is worked on, the next row group is read by another thread.
        """
        order = [self._groups[index] for index in self._generator.permutation(len(self._groups))]
        order = [group for group in order if group.rows[0]]
        filled = 0
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self._read, order[0], SPLITS[0])
            for place in range(len(order)):
                vectors, targets = coming.result()
                if place + 1 < len(order):
                    coming = pool.submit(self._read, order[place + 1], SPLITS[0])
                if filled + len(targets) > len(block.targets):
                    yield filled
                    filled = 0
                block.vectors[filled : filled + len(targets)] = vectors
                block.targets[filled : filled + len(targets)] = targets
                filled += len(targets)
        yield filled

    def sample(self, split: str, size: int) -> Examples:
        """Returns as many rows of a split as ``size`` bytes hold, evenly from all row groups; of few, all."""
        place, most = SPLITS.index(split), max(1, size // (4 * self._dimension))
        there = sum(group.rows[place] for group in self._groups)
        share = min(1.0, most / max(there, 1))
        generator = np.random.default_rng([place, there])
        rows = [int(group.rows[place] * share + generator.random()) for group in self._groups]
        rows = [min(number, group.rows[place]) for number, group in zip(rows, self._groups, strict=True)]
        vectors, targets, filled = aligned_matrix(sum(rows), self._dimension), np.zeros(sum(rows), np.int32), 0
        for number, group in zip(rows, self._groups, strict=True):
            if number:
                found, wanted = self._read(group, split)
                chosen = generator.permutation(len(wanted))[:number]
                vectors[filled : filled + number], targets[filled : filled + number] = found[chosen], wanted[chosen]
                filled += number
        known = targets >= 0
        return (
            Examples(vectors=vectors, targets=targets)
            if known.all()
            else Examples(vectors=vectors[known], targets=targets[known])
        )

    def _read(self, group: Group, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the labelled rows of a split in one row group; the target of an unknown label is -1."""
        root, path = open_filesystem(group.file)
        views = None if split == SPLITS[0] else [0]
        with file_errors(path), root.open_input_file(path) as source:
            file = pq.ParquetFile(source, metadata=self._footers.get(group.file))
            self._footers[group.file] = file.metadata
            selection = Selection.of([split], views=views)
            found = read_row_group(file, group.number, ["labels", "embedding"], selection)
        found = found.filter(pc.equal(pc.list_value_length(found.column("labels")), 1)).combine_chunks()
        parts = list(vectors_of(found.column("embedding"), self._dimension, path))
        vectors = np.concatenate(parts) if parts else np.empty((0, self._dimension), np.float32)
        if not np.isfinite(vectors).all():
            raise StoreError(f"{path}: vectors of the {split} split have NaN or infinity; embed its images again")
        names = pa.concat_arrays(
            [pa.array([], pa.string()), *(chunk.flatten() for chunk in found.column("labels").chunks)]
        )
        targets = pc.fill_null(pc.index_in(names, self._labels), -1).to_numpy(zero_copy_only=False).astype(np.int32)
        return vectors, targets


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

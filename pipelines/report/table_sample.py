"""A bounded look at a feature table: some of its rows, drawn at random, and how many of them have which label."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.files.filesystem import open_filesystem
from transforms.store.read import (
    METADATA_COLUMNS,
    Features,
    Selection,
    features_of,
    file_errors,
    read_file,
    read_row_group,
)
from transforms.store.schema import feature_schema, subset
from transforms.store.table import DataFile, FeatureTable

FILES = 16
"""Data files that a sample is drawn from at most."""

GROUPS = 2
"""Row groups that are read of each of them at most."""

COUNTED = 1_000_000
"""Rows whose labels are counted at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """How many images have which label, split by split.

    Attributes:
      cells: (label, split) to images; an image without a label has the label ``""``.
      rows: that were counted.
      total: rows that there are, augmented views included.
      repeated: rows whose content another of them has.
    """

    cells: collections.Counter[tuple[str, str]]
    rows: int
    total: int
    repeated: int

    def labels(self) -> list[tuple[str, int]]:
        """Returns the labels with their images, the most frequent first."""
        sums: collections.Counter[str] = collections.Counter()
        for (label, _), rows in self.cells.items():
            sums[label] += rows
        return sorted(sums.items(), key=lambda item: (-item[1], item[0]))


def sample_rows(
    files: Sequence[DataFile],
    dimension: int,
    rows: int,
    run_id: str | None = None,
    splits: Collection[str] | None = None,
) -> Features:
    """Draws rows without their augmented views, in any order; the same files give the same rows.

    What is read does not grow with the table: FILES files, each with a chance as its rows, and GROUPS row groups
    of each. Vectors that are not finite are left out.

    Args:
      files: of a table.
      dimension: of its vectors.
      rows: that are wanted.
      run_id: the run whose rows are wanted; of all by default.
      splits: that are wanted; all by default.
    """
    selection = Selection.of(splits, views=[0])  # augmented views lie beside their image and say nothing new
    generator = np.random.default_rng(0)
    sizes = np.array([file.rows for file in files], np.float64)
    filled = np.flatnonzero(sizes)
    chances = sizes[filled] / max(sizes.sum(), 1.0)
    chosen = generator.choice(filled, min(FILES, len(filled)), replace=False, p=chances) if filled.size else filled
    schema = subset(feature_schema(dimension), [*METADATA_COLUMNS, "embedding"])
    pieces = [schema.empty_table().replace_schema_metadata(None)]
    quota = -(-rows // max(len(chosen), 1))
    for index in sorted(chosen.tolist()):
        pieces += _draw(files[index], schema.names, quota if len(chosen) > 1 else rows, (selection, run_id), generator)
        pa.default_memory_pool().release_unused()  # which keeps 100 MB of all these row groups otherwise
    found = pa.concat_tables(pieces, promote_options="permissive").combine_chunks()
    batches = found.to_batches() or [pa.RecordBatch.from_pylist([], schema=found.schema)]
    features = features_of(batches[0], dimension)
    finite = np.flatnonzero(np.isfinite(features.embeddings).all(axis=1))
    return features.take(generator.permutation(finite)[:rows])


def count_labels(files: Sequence[DataFile], limit: int = COUNTED, run_id: str | None = None) -> LabelCounts:
    """Counts images by label and split, and contents that come again; reads ``limit`` rows at most.

    Args:
      files: of a table; those after the limit are not read.
      limit: rows.
      run_id: the run whose rows are counted; all by default.
    """
    cells: collections.Counter[tuple[str, str]] = collections.Counter()
    contents = [np.zeros(0, "S16")]
    rows = read = 0
    for file in files:
        if read >= limit:
            break
        for batch in read_file(file.uri, ["split", "labels", "sha256", "run_id"], views=[0]):
            part = batch if run_id is None else batch.filter(pc.equal(batch.column("run_id"), run_id))
            read += len(batch)
            rows += len(part)
            columns = (part.column(name).to_pylist() for name in ("split", "labels"))
            for split, labels in zip(*columns, strict=True):
                cells.update((label, split or "") for label in labels or ("",))
            beginnings = pc.binary_slice(part.column("sha256").cast(pa.binary()), 0, 16).fill_null(b"")
            contents.append(beginnings.to_numpy(zero_copy_only=False).astype("S16"))
    repeated = rows - len(np.unique(np.concatenate(contents)))
    return LabelCounts(cells=cells, rows=rows, total=sum(file.rows for file in files), repeated=repeated)


def files_of_commit(table: FeatureTable) -> tuple[list[DataFile], list[DataFile]]:
    """Returns the files that the table's newest version added, and those that the one before it had."""
    files = table.data_files()
    if table.version < 1:
        return files, []
    before = FeatureTable.open(table.path, table.version - 1).data_files()
    known = {file.path for file in before}
    return [file for file in files if file.path not in known], before


def _draw(
    file: DataFile,
    columns: Sequence[str],
    rows: int,
    wanted_rows: tuple[Selection, str | None],
    generator: np.random.Generator,
) -> list[pa.Table]:
    """Reads some row groups of a file, and takes rows of them at random that are wanted: a selection, and a run."""
    selection, run_id = wanted_rows
    root, path = open_filesystem(file.uri)
    found = []
    with file_errors(path), root.open_input_file(path) as source:
        opened = pq.ParquetFile(source)
        groups = generator.permutation(opened.num_row_groups)[:GROUPS]
        for group in sorted(groups.tolist()):
            table = read_row_group(opened, group, [*columns, "run_id"], selection)
            if run_id is not None:
                table = table.filter(pc.equal(table.column("run_id"), run_id))
            wanted = min(table.num_rows, -(-rows // len(groups)))
            kept = np.sort(generator.choice(table.num_rows, wanted, replace=False))
            found.append(table.take(pa.array(kept)).select(list(columns)))
    return found

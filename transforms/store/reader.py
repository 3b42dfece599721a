"""Stored features for Python users: Arrow, NumPy, tf.data and PyTorch, with neither Beam nor TensorFlow needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.files.filesystem import open_filesystem
from transforms.store.catalog import open_table
from transforms.store.delta import DataFile
from transforms.store.log import AtVersion, parse_version
from transforms.store.read import (
    BATCH_ROWS,
    METADATA_COLUMNS,
    Features,
    Selection,
    concatenate,
    features_of,
    file_errors,
    read_matrix,
    read_row_group,
)
from transforms.store.schema import feature_schema

if TYPE_CHECKING:
    import pyarrow.dataset as ds


def open_features(
    store: str,
    table: str | None = None,
    version: AtVersion | str = None,
    *,
    splits: Collection[str] | None = None,
    labels: Collection[str] | None = None,
    attributes: Mapping[str, str | Collection[str]] | None = None,
    views: Collection[int] | None = (0,),
) -> FeatureSet:
    """Opens the features of a store: one version of one table, and of it the rows that are wanted.

    Args:
      store: path or address.
      table: name, or its encoder's name or fingerprint; not needed when the store has one table.
      version: a number or a time (a datetime, or ISO 8601); the newest by default.
      splits: some of ``train``, ``validation``, ``test``; all by default.
      labels: rows with at least one of these; all by default, also those without a label.
      attributes: name to the value, or the values, that a row must have.
      views: ``view_id`` values; the images themselves by default, None for augmented views as well.

    Raises:
      StoreError: no such store, table or version; naming those there are.
    """
    at = parse_version(version) if isinstance(version, str) else version
    opened = open_table(store, table, at)
    return FeatureSet(
        path=opened.path,
        version=opened.version,
        encoder=opened.specification.name,
        fingerprint=opened.specification.fingerprint,
        dimension=opened.specification.dimension,
        files=tuple(opened.data_files()),
        selection=Selection.of(splits, labels, attributes, views),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Rows of one version of a table; plain data, which may be pickled and sent to a process that reads.

    Every method gives the same rows in the same order, however often it is called. Readers raise StoreError for
    a file that is missing (its version was vacuumed) or damaged.

    Attributes:
      path: of the table.
      version: of the table.
      encoder: name of what made the vectors.
      fingerprint: of the encoder; vectors of different fingerprints must not be mixed.
      dimension: of a vector.
      files: the version's data files.
      selection: the rows that are wanted.
    """

    path: str
    version: int
    encoder: str
    fingerprint: str
    dimension: int
    files: tuple[DataFile, ...]
    selection: Selection

    @property
    def schema(self) -> pa.Schema:
        """Of a feature row."""
        return feature_schema(self.dimension)

    def arrow_dataset(self) -> ds.Dataset:
        """Returns an Arrow dataset of exactly the version's files and the wanted rows.

        Labels and attributes cannot be filtered by an expression, so they cost a pass over these columns here.
        """
        import pyarrow.dataset as ds  # which takes pandas in, half a second, where that is installed

        system, _ = open_filesystem(self.path)
        paths = [open_filesystem(file.uri)[1] for file in self.files]
        schema = self.schema.remove_metadata()
        dataset = (
            ds.FileSystemDataset.from_paths(paths, schema=schema, format=ds.ParquetFileFormat(), filesystem=system)
            if paths
            else ds.dataset(schema.empty_table())
        )
        condition = self.selection.expression()
        if self.selection.labels is not None or self.selection.attributes:
            ids = [batch.column("image_id") for batch in self.batches(["image_id"])]
            wanted = ds.field("image_id").isin(concatenate(ids, pa.string()))
            condition = wanted if condition is None else condition & wanted
        return dataset if condition is None else dataset.filter(condition)

    def batches(self, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yields the rows as record batches of at most ``batch_rows``; memory is bounded by a row group."""
        yield from self._batches(columns, batch_rows, 0, 1)

    def numpy(self, columns: Sequence[str] = METADATA_COLUMNS, threads: int | None = None) -> Features:
        """Reads all rows: ``embeddings`` is ``float32[N, dimension]``, contiguous, the other columns beside it."""
        return read_matrix(self.path, self.files, self.dimension, self.selection, columns, threads)

    def numpy_batches(
        self, columns: Sequence[str] = METADATA_COLUMNS, batch_rows: int = BATCH_ROWS
    ) -> Iterator[Features]:
        """Yields the rows as Features of at most ``batch_rows``."""
        for batch in self.batches([*columns, "embedding"], batch_rows):
            yield features_of(batch, self.dimension)

    def tf_dataset(self, batch_rows: int = 1024) -> Any:
        """Returns a ``tf.data.Dataset`` of batches; TensorFlow is imported here.

        An element is a dictionary: ``embedding`` float32[B, dimension], ``image_id``, ``image_uri`` and ``split``
        string[B], ``view_id`` int32[B], ``labels`` a ragged string[B, None].
        """
        import tensorflow as tf

        names = ("image_id", "image_uri", "split", "view_id", "labels")

        def generate() -> Iterator[dict[str, Any]]:
            for found in self.numpy_batches(names, batch_rows):
                yield {
                    "embedding": found.embeddings,
                    "image_id": tf.constant(found.image_ids, tf.string),
                    "image_uri": tf.constant(found.image_uris, tf.string),
                    "split": tf.constant(found.splits, tf.string),
                    "view_id": found.view_ids,
                    "labels": tf.ragged.constant([list(names) for names in found.labels], tf.string, ragged_rank=1),
                }

        text = tf.TensorSpec([None], tf.string)
        signature = {
            "embedding": tf.TensorSpec([None, self.dimension], tf.float32),
            **dict.fromkeys(("image_id", "image_uri", "split"), text),
            "view_id": tf.TensorSpec([None], tf.int32),
            "labels": tf.RaggedTensorSpec([None, None], tf.string, ragged_rank=1),
        }
        return tf.data.Dataset.from_generator(generate, output_signature=signature)

    def examples(
        self, index: int = 0, count: int = 1, columns: Sequence[str] = ("image_id", "labels")
    ) -> FeatureExamples:
        """Returns an iterable of single rows, or the part of them that is worker ``index`` of ``count``'s.

        For ``torch.utils.data.IterableDataset``, whose workers each take a part; see docs/feature-store.md.
        """
        if not 0 <= index < count:
            raise ValueError(f"index must be between 0 and {count - 1}, got {index}")
        return FeatureExamples(features=self, index=index, count=count, columns=tuple(columns))

    def _batches(
        self, columns: Sequence[str] | None, batch_rows: int, index: int, count: int
    ) -> Iterator[pa.RecordBatch]:
        """Yields the batches of every ``count``-th row group, from the ``index``-th on."""
        if batch_rows < 1:
            raise ValueError(f"batch_rows must be positive, got {batch_rows}")
        names = self.schema.names if columns is None else list(columns)
        number = 0
        for file in self.files:
            system, path = open_filesystem(file.uri)
            with file_errors(path), system.open_input_file(path) as source:
                opened = pq.ParquetFile(source)
                for group in range(opened.num_row_groups):
                    mine, number = number % count == index, number + 1
                    if mine and self.selection.may_match(opened.metadata, group):
                        found = read_row_group(opened, group, names, self.selection)
                        if found.num_rows:
                            yield from found.combine_chunks().to_batches(max_chunksize=batch_rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureExamples:
    """Single rows, one dictionary each; every pass begins anew.

    ``embedding`` is ``float32[dimension]``, ``labels`` a list, ``attributes`` a dictionary, the rest as Python has it.
    """

    features: FeatureSet
    index: int
    count: int
    columns: tuple[str, ...]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = [*self.columns, "embedding"]
        for batch in self.features._batches(names, BATCH_ROWS, self.index, self.count):
            vectors = features_of(batch.select(["embedding"]), self.features.dimension).embeddings
            for row, vector in zip(batch.select(list(self.columns)).to_pylist(), vectors, strict=True):
                if "attributes" in row:
                    row["attributes"] = dict(row["attributes"] or ())
                yield {**row, "embedding": np.array(vector)}

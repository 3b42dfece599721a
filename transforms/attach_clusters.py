"""Attach clusters: predictions get the cluster that the stored embedding of their image lies in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.measures.clusters import SAMPLE_ROWS, assign_clusters, fit_clusters, sample_rows
from transforms.measures.joining import CLUSTER, CLUSTER_DISTANCE, attached, partitioned
from transforms.store.read import read_file

_COLUMNS = ("image_id", "image_uri", "embedding")
_SIDES = ("predictions", "clusters")


@dataclasses.dataclass(kw_only=True)
class AttachClusters(beam.PTransform):
    """Arrow record batches of predictions to the same with their columns ``cluster`` and ``cluster_distance``.

    Attributes:
      files: data files of a table of features.
      clusters: how many.
      seed: of their fit, on the first rows of each file.
      partitions: into which the rows are spread by image; each is joined in memory.
    """

    files: Sequence[str]
    clusters: int
    seed: int = 0
    partitions: int = 64

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Fits the centres here, assigns every stored row where it is read, and joins by image."""
        share = -(-SAMPLE_ROWS // max(len(self.files), 1))
        samples = (vectors for file in self.files for vectors in [sample_rows(_vectors(file), share)])
        centres = fit_clusters(sample_rows(samples, SAMPLE_ROWS), self.clusters, self.seed)
        assigned = (
            batches.pipeline
            | "CreateFeatureFiles" >> beam.Create(list(self.files))
            | "SpreadFeatureFiles" >> beam.Reshuffle()
            | "AssignClusters" >> beam.FlatMap(_assign, centres, self.partitions)
        )
        spread = batches | "PartitionPredictions" >> beam.FlatMap(partitioned, self.partitions)
        return (
            dict(zip(_SIDES, (spread, assigned), strict=True))
            | "JoinClusters" >> beam.CoGroupByKey()
            | "Attach" >> beam.FlatMap(_attach)
        )


def _vectors(file: str) -> Iterator[npt.NDArray[np.float32]]:
    for batch in read_file(file, _COLUMNS, views=(0,)):
        if batch.num_rows:
            yield _matrix(batch)


def _matrix(batch: pa.RecordBatch) -> npt.NDArray[np.float32]:
    matrix: npt.NDArray[np.float32] = batch.column("embedding").flatten().to_numpy().reshape(batch.num_rows, -1)
    return matrix


def _assign(file: str, centres: npt.NDArray[np.float32], partitions: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    names = np.array([f"cluster {number:02}" for number in range(1, len(centres) + 1)], object)
    for batch in read_file(file, _COLUMNS, views=(0,)):
        if batch.num_rows:
            code, distance = assign_clusters(_matrix(batch), centres)
            columns = [batch.column("image_id"), batch.column("image_uri"), pa.array(names[code]), pa.array(distance)]
            table = pa.RecordBatch.from_arrays(columns, names=["image_id", "image_uri", CLUSTER, CLUSTER_DISTANCE])
            yield from partitioned(table, partitions)


def _attach(group: tuple[int, dict[str, Iterable[pa.RecordBatch]]]) -> Iterator[pa.RecordBatch]:
    predictions, clusters = (list(group[1][side]) for side in _SIDES)
    yield from attached(predictions, clusters, (CLUSTER, CLUSTER_DISTANCE))

"""Exports features to what other tools take: NumPy, clip-retrieval's layout, TFRecord and CSV; a batch at a time."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import OptionError
from transforms.files.filesystem import is_local, local_path
from transforms.files.spreadsheet import neutral
from transforms.store.delta import one_line
from transforms.store.read import BATCH_ROWS, vectors_of
from transforms.store.reader import FeatureSet

ROWS_PER_FILE = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """What was exported; written into the directory as ``export.json``.

    Attributes:
      output: directory.
      format: a key of FORMATS.
      table: its path.
      version: of the table.
      encoder_fingerprint: of the vectors.
      dimension: of the vectors.
      rows: exported.
      files: relative to the directory.
    """

    output: str
    format: str
    table: str
    version: int
    encoder_fingerprint: str
    dimension: int
    rows: int
    files: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {**dataclasses.asdict(self), "files": list(self.files)}


def export(features: FeatureSet, kind: str, output: str, rows_per_file: int = ROWS_PER_FILE) -> Export:
    """Writes the rows into a new directory, which appears when it is complete.

    Args:
      kind: a key of FORMATS.
      output: local directory; missing or empty.
      rows_per_file: of clip-retrieval and TFRecord.

    Raises:
      OptionError: the directory holds something, is not local, or cannot be written.
    """
    if not is_local(output):
        raise OptionError(f"--output {output} must be a local directory; copy it from there to where it shall be")
    target = local_path(output)
    if os.path.lexists(target) and not (os.path.isdir(target) and not os.listdir(target)):
        raise OptionError(f"--output {target} holds something; name a new directory")
    temporary = f"{os.path.dirname(target)}/.{os.path.basename(target)}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        os.makedirs(temporary)
        rows = FORMATS[kind](features, temporary, rows_per_file)
        files = sorted(
            os.path.relpath(os.path.join(place, name), temporary)
            for place, _, names in os.walk(temporary)
            for name in names
        )
        done = Export(
            output=target,
            format=kind,
            table=features.path,
            version=features.version,
            encoder_fingerprint=features.fingerprint,
            dimension=features.dimension,
            rows=rows,
            files=tuple(files),
        )
        with open(os.path.join(temporary, "export.json"), "w") as stream:
            json.dump(done.to_json(), stream, indent=2)
        os.replace(temporary, target)
    except OSError as error:
        raise OptionError(f"--output {target} cannot be written: {one_line(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return done


def _numpy(features: FeatureSet, directory: str, _: int) -> int:
    """``embeddings.npy`` float32[N, D] and ``metadata.parquet`` with the other columns, in the same order."""
    total = sum(batch.num_rows for batch in features.batches(["image_id"]))
    shape = (total, features.dimension)
    names = [name for name in features.schema.names if name != "embedding"]
    with (
        open(f"{directory}/embeddings.npy", "wb") as stream,
        pq.ParquetWriter(f"{directory}/metadata.parquet", _metadata_schema(features, names)) as writer,
    ):
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for batch in features.batches():
            stream.write(_vectors(batch, features).astype("<f4", copy=False).tobytes())
            writer.write_batch(batch.select(names))
    return total


def _clip_retrieval(features: FeatureSet, directory: str, rows_per_file: int) -> int:
    """``img_emb/img_emb_0.npy`` float16 of unit length and ``metadata/metadata_0.parquet`` beside it."""
    for name in ("img_emb", "metadata"):
        os.mkdir(f"{directory}/{name}")
    total = sum(batch.num_rows for batch in features.batches(["image_id"]))
    digits = len(str(max(0, total - 1) // rows_per_file))
    names = ["image_id", "sha256", "split", "labels", "group", "view_id", "attributes"]
    schema = pa.schema([("image_path", pa.string()), ("caption", pa.string()), *_metadata_schema(features, names)])
    for number, (rows, batches) in enumerate(_files(features, total, rows_per_file)):
        label = str(number).zfill(digits)
        with (
            open(f"{directory}/img_emb/img_emb_{label}.npy", "wb") as stream,
            pq.ParquetWriter(f"{directory}/metadata/metadata_{label}.parquet", schema) as writer,
        ):
            header = {"descr": "<f2", "fortran_order": False, "shape": (rows, features.dimension)}
            np.lib.format.write_array_header_1_0(stream, header)
            for batch in batches:
                vectors = _vectors(batch, features)
                norms = np.linalg.norm(vectors, axis=1, keepdims=True)
                stream.write((vectors / np.where(norms, norms, 1)).astype("<f2").tobytes())
                captions = pa.array([", ".join(labels or ()) for labels in batch.column("labels").to_pylist()])
                columns = [batch.column("image_uri"), captions, *(batch.column(name) for name in names)]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return total


def _tfrecord(features: FeatureSet, directory: str, rows_per_file: int) -> int:
    """``features-00000-of-00001.tfrecord``: tf.train.Examples; attributes are ``attributes/<name>``."""
    import tensorflow as tf

    def texts(values: list[str]) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))

    total = sum(batch.num_rows for batch in features.batches(["image_id"]))
    count = max(1, -(-total // rows_per_file))
    names = ["image_id", "image_uri", "sha256", "split", "group"]
    for number, (_, batches) in enumerate(_files(features, total, rows_per_file)):
        with tf.io.TFRecordWriter(f"{directory}/features-{number:05d}-of-{count:05d}.tfrecord") as writer:
            for batch in batches:
                rows = batch.drop_columns(["embedding"]).to_pylist()
                for row, vector in zip(rows, _vectors(batch, features), strict=True):
                    fields = {name: texts([row[name] or ""]) for name in names}
                    fields |= {f"attributes/{name}": texts([value]) for name, value in row["attributes"] or ()}
                    fields["labels"] = texts(row["labels"] or [])
                    fields["view_id"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[row["view_id"]]))
                    fields["embedding"] = tf.train.Feature(float_list=tf.train.FloatList(value=vector))
                    example = tf.train.Example(features=tf.train.Features(feature=fields))
                    writer.write(example.SerializeToString())
    return total


def _csv(features: FeatureSet, directory: str, _: int) -> int:
    """``features.csv``: labels joined by ``|``, attributes as JSON, a column for each value of the vector."""
    names = [name for name in features.schema.names if name != "embedding"]
    total = 0
    with open(f"{directory}/features.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*names, *(f"embedding_{index}" for index in range(features.dimension))])
        for batch in features.batches():
            total += batch.num_rows
            rows = batch.select(names).to_pylist()
            for row, vector in zip(rows, _vectors(batch, features), strict=True):
                writer.writerow([*(neutral(_text(row[name])) for name in names), *map(str, vector)])
    return total


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        is_map = bool(value) and isinstance(value[0], tuple)
        return json.dumps(dict(value), ensure_ascii=False) if is_map else "|".join(value)
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _files(features: FeatureSet, total: int, rows_per_file: int) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
    """Yields rows and batches of each file; the batches are to be drained before the next."""
    waiting = features.batches(batch_rows=min(BATCH_ROWS, rows_per_file))
    rest: list[pa.RecordBatch] = []

    def take(rows: int) -> Iterator[pa.RecordBatch]:
        while rows:
            batch = rest.pop() if rest else next(waiting)
            if batch.num_rows > rows:
                rest.append(batch.slice(rows))
            yield batch.slice(0, rows)
            rows -= min(rows, batch.num_rows)

    for start in range(0, max(total, 1), rows_per_file):
        rows = min(rows_per_file, total - start)
        yield rows, take(rows)


def _vectors(batch: pa.RecordBatch, features: FeatureSet) -> np.ndarray:
    (vectors,) = vectors_of(pa.chunked_array([batch.column("embedding")]), features.dimension, features.path)
    return vectors


def _metadata_schema(features: FeatureSet, names: list[str]) -> pa.Schema:
    return pa.schema([features.schema.field(name) for name in names])


FORMATS: dict[str, Callable[[FeatureSet, str, int], int]] = {
    "numpy": _numpy,
    "clip-retrieval": _clip_retrieval,
    "tfrecord": _tfrecord,
    "csv": _csv,
}
"""Name of a format to what writes it into a directory and returns the number of rows."""

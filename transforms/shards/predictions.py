"""Predictions in columns: from probabilities to Arrow, and on to lines of JSON and of CSV."""

from __future__ import annotations

import collections
import datetime
import functools
import itertools
import json
import mimetypes
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.files.spreadsheet import csv_lines
from transforms.model.decision import NONE_OF_THESE, Decision
from transforms.model.head import Head
from transforms.shards.outcome import EncodedImage, Vectors, stack_vectors
from transforms.store.read import vectors_of
from transforms.store.schema import prediction_schema, subset
from transforms.store.write import columns_to_batch

CSV_COLUMNS = ("image_id", "image_uri", "sha256", "prediction", "confidence", "labels", "model_version")
_LISTED = ("labels", "split", "group", "attributes")
_DECODED = ("width", "height", "format", "byte_size")
_STORED = ("image_id", "image_uri", "sha256", *_LISTED, *_DECODED)
STORED_COLUMNS = (*_STORED, "embedding")
"""Of a feature table: what a prediction is made of."""

_IMAGE_SCHEMA = subset(prediction_schema(), (*_STORED, "brightness"))
_JSON = json.JSONEncoder(ensure_ascii=False)


class ImageBatch(NamedTuple):
    """Images that are scored together.

    Attributes:
      images: what predictions say of them whatever the model says.
      vectors: ``float32[N, D]``, or ``float32[N, 1 + views, D]``.
    """

    images: pa.RecordBatch
    vectors: Vectors

    @classmethod
    def of_images(cls, batch: Sequence[EncodedImage]) -> ImageBatch:
        """Takes images with their vectors."""
        references = [image.reference for image in batch]
        columns = {
            "image_id": [reference.image_id for reference in references],
            "image_uri": [reference.uri for reference in references],
            **{name: [getattr(reference, name) for reference in references] for name in _LISTED},
            **{name: [getattr(image, name) for image in batch] for name in ("sha256", *_DECODED, "brightness")},
        }
        return cls(columns_to_batch(columns, _IMAGE_SCHEMA), stack_vectors(batch))

    @classmethod
    def of_features(cls, batch: pa.RecordBatch, dimension: int, path: str) -> ImageBatch:
        """Takes STORED_COLUMNS of a feature table; ``path`` is for messages.

        Raises:
          StoreError: a vector is missing or not of this dimension.
        """
        (vectors,) = vectors_of(pa.chunked_array([batch.column("embedding")]), dimension, path)
        columns = {name: batch.column(name) for name in _STORED}
        columns |= {name: columns[name].fill_null([] if name in ("labels", "attributes") else "") for name in _LISTED}
        columns["brightness"] = pa.nulls(len(batch), pa.float32())
        return cls(columns_to_batch(columns, _IMAGE_SCHEMA), vectors)


def predict(batch: ImageBatch, head: Head, model_version: str, top_k: int) -> pa.RecordBatch:
    """Returns rows of transforms.store.schema.prediction_schema.

    Args:
      batch: to be scored; the probabilities of an image's views are averaged with its own.
      head: that scores; an id is a label's place in the order of its outputs.
      model_version: of the model.
      top_k: labels a row, best first; among equals the first in order.
    """
    images, vectors = batch
    rows = len(images)
    probabilities = head.probabilities(vectors.reshape(-1, vectors.shape[-1]))
    probabilities = probabilities.reshape(rows, -1, probabilities.shape[-1]).mean(axis=1)
    best = np.argsort(-probabilities, axis=1, kind="stable")
    shown = best[:, :top_k]
    several = np.full(rows, shown.shape[1])
    decided = np.take_along_axis(head.decide(probabilities, _slice_values(images, head.decision)), best, axis=1)
    labels = pa.array(head.labels, pa.string())
    columns = {
        **dict(zip(images.schema.names, images.columns, strict=True)),
        "ids": _lists(pa.array(map(str, range(len(labels)))).take(pa.array(shown.ravel())), several),
        "displayNames": _lists(labels.take(pa.array(shown.ravel())), several),
        "confidences": _lists(pa.array(np.take_along_axis(probabilities, shown, axis=1).ravel()), several),
        "predicted": _lists(labels.take(pa.array(best[decided])), decided.sum(axis=1)),
        "activation": pa.repeat(head.activation, rows),
        "model_version": pa.repeat(model_version, rows),
        "scored_at": pa.repeat(datetime.datetime.now(datetime.UTC), rows),
    }
    return columns_to_batch(columns, prediction_schema())


def _slice_values(images: pa.RecordBatch, decision: Decision) -> list[str] | None:
    """Returns each image's value of the attribute that thresholds depend on, empty for none."""
    if decision.slices is None:
        return None
    found = pc.map_lookup(images.column("attributes"), pa.scalar(decision.slices.attribute), "last")
    values: list[str] = found.fill_null("").to_pylist()
    return values


def _lists(values: pa.Array, lengths: npt.NDArray[np.int64]) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def count_classes(predictions: pa.RecordBatch) -> collections.Counter[str]:
    """Returns how many rows are predicted to be of each class; "" for rows that are of none."""
    predicted = predictions.column("predicted")
    found = predicted.flatten().value_counts().to_pylist()
    classes = collections.Counter({pair["values"]: pair["counts"] for pair in found})
    classes[""] += pc.sum(pc.equal(pc.list_value_length(predicted), 0), min_count=0).as_py()
    return +classes


def vertex_lines(predictions: pa.RecordBatch) -> str:
    """Returns rows as lines of Vertex AI's batch prediction output."""
    names, predicted = predictions.column("displayNames"), _json_lists(predictions.column("predicted"))
    # By the model's thresholds, of which Vertex knows nothing.
    odd = pc.not_equal(predicted, _json_lists(pc.list_slice(names, 0, 1)))
    odd = pc.and_(odd, pc.equal(predictions.column("activation"), "softmax"))
    lines = pc.binary_join_element_wise(
        '{"instance": ',
        pa.array(map(_json_instance, predictions.column("image_uri").to_pylist()), pa.string()),
        ', "prediction": {"ids": ',
        _json_lists(predictions.column("ids")),
        ', "displayNames": ',
        _json_lists(names),
        ', "confidences": ',
        _json_lists(predictions.column("confidences")),
        pc.if_else(odd, pc.binary_join_element_wise(', "predicted": ', predicted, ""), ""),
        "}}\n",
        "",
    )
    return "".join(lines.to_pylist())


def _json_lists(column: pa.ListArray) -> pa.Array:
    """Returns lists of texts, or of numbers, as JSON."""
    texts = (_json_texts if pa.types.is_string(column.type.value_type) else _json_numbers)(column.values)
    lists = pa.ListArray.from_arrays(column.offsets, texts)
    return pc.binary_join_element_wise("[", pc.binary_join(lists, ", "), "]", "")


def _json_texts(values: pa.StringArray) -> pa.Array:
    values = values.dictionary_encode()
    return pa.array(map(_JSON.encode, values.dictionary.to_pylist()), pa.string()).take(values.indices)


def _json_numbers(values: pa.FloatArray) -> pa.Array:
    """Arrow is several times faster than Python; both write the fewest digits that tell a number, but 1e-05 differs."""
    numbers = values.cast(pa.float64())
    differ = pc.invert(pc.and_(pc.greater_equal(numbers, 1e-4), pc.less(numbers, 1)))
    ours = _JSON.encode(numbers.filter(differ).to_pylist())[1:-1].split(", ")
    return pc.replace_with_mask(numbers.cast(pa.string()), differ, pa.array(ours))


def _json_instance(uri: str) -> str:
    return f'{{"content": {_JSON.encode(uri)}, "mimeType": "{_mime_type(uri.rpartition(".")[2])}"}}'


@functools.lru_cache
def _mime_type(suffix: str) -> str:
    return mimetypes.guess_type(f"image.{suffix}")[0] or "application/octet-stream"


def csv_text(predictions: pa.RecordBatch) -> str:
    """Returns CSV_COLUMNS of rows, ``|`` between several labels, the highest confidence beside none of these."""
    lists = [_python_lists(predictions.column(name)) for name in ("displayNames", "confidences", "predicted")]
    answers = list(map(_csv_answer, predictions.column("activation").to_pylist(), *lists))
    columns = {
        "prediction": [said for said, _ in answers],
        "confidence": [confidence for _, confidence in answers],
        "labels": pc.binary_join(predictions.column("labels"), "|").to_pylist(),
    }
    columns = {name: columns.get(name) or predictions.column(name).to_pylist() for name in CSV_COLUMNS}
    return csv_lines(zip(*columns.values(), strict=True))


def _python_lists(column: pa.ListArray) -> Iterator[list[Any]]:
    """Yields the lists; twice as fast as ``to_pylist``."""
    values = column.values.to_pylist()
    for begin, end in itertools.pairwise(column.offsets.to_pylist()):
        yield values[begin:end]


def _csv_answer(activation: str, names: list[str], confidences: list[float], predicted: list[str]) -> tuple[str, str]:
    one = activation == "softmax"
    said = [name for name in predicted if one or name in names]
    shown = [confidences[names.index(name)] for name in said if name in names] or confidences[:one]
    return "|".join(said or [NONE_OF_THESE][:one]), "|".join(f"{confidence:.6g}" for confidence in shown)

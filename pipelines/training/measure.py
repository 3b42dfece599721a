"""Measures a head on a split, with the same metrics as ``heliograph evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.training.features import Examples
from transforms.measures.batch import PredictionBatch
from transforms.measures.evaluation import LARGEST_CONFUSIONS, MATRIX_CLASSES, null_for_nan
from transforms.measures.slices import GroupMeasures, MeasureOptions
from transforms.model.head import Array, Head


def measure(head: Head, examples: Examples, foreign_labels: Sequence[str] = ()) -> dict[str, Any] | None:
    """Returns the metrics of a split as JSON types, None for an empty split.

    Args:
      head: whose labels are the classes, sorted.
      examples: targets index into the head's labels, beyond them into ``foreign_labels``.
      foreign_labels: labels that the head does not know; their rows count as wrong.
    """
    if not len(examples.targets):
        return None
    batch = prediction_batch(head.probabilities(examples.vectors), examples.targets, head.labels, foreign_labels)
    options = MeasureOptions()
    measures = GroupMeasures(options.exact_cells, options.bits)
    measures.add(batch)
    metrics = measures.compute(head.labels)
    labels = [entry["name"] for entry in metrics["classes"]]
    confusion = {
        "labels": labels,
        "rows": measures.confusion.matrix(labels) if len(labels) <= MATRIX_CLASSES else None,
        "largest": measures.confusion.largest(LARGEST_CONFUSIONS),
    }
    plain: dict[str, Any] = null_for_nan({**metrics, "confusion_matrix": confusion})
    return plain


def prediction_batch(
    probabilities: Array, targets: np.ndarray, labels: Sequence[str], foreign_labels: Sequence[str] = ()
) -> PredictionBatch:
    """Puts ``float32[N, C]`` probabilities and ``int[N]`` targets into the form that metrics add up."""
    rows, known = np.arange(len(targets)), targets < len(labels)
    of_label = np.where(known, probabilities[rows, np.where(known, targets, 0)], np.inf)
    classes = tuple(sorted({*labels, *foreign_labels}))
    codes = np.array([classes.index(name) for name in (*labels, *foreign_labels)], np.int64)
    predicted = probabilities.argmax(axis=1)
    return PredictionBatch(
        names=tuple(labels),
        classes=classes,
        actual=codes[targets],
        predicted=codes[predicted],
        confidence=probabilities[rows, predicted].astype(np.float64),
        rank=np.where(known, (probabilities > of_label[:, None]).sum(axis=1), -1),
        length=np.full(len(targets), len(labels), np.int64),
        complete=np.ones(len(targets), np.bool_),
        scores=probabilities,
        weights=np.ones(len(targets)),
    )

"""Measures a head on a split, with the same metrics as ``heliograph evaluate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.training.features import Examples
from transforms.measures.batch import PredictionBatch
from transforms.measures.evaluation import LARGEST_CONFUSIONS, MATRIX_CLASSES, null_for_nan
from transforms.measures.label_sets import LabelSetMeasures
from transforms.measures.slices import DEFAULT_VALUES, GroupMeasures, MeasureOptions
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
    if examples.several:
        return _measure_several(head, examples, (*head.labels, *foreign_labels))
    batch = prediction_batch(head.probabilities(examples.vectors), examples.targets, head.labels, foreign_labels)
    options = MeasureOptions()
    measures = GroupMeasures(options.exact_cells, options.bits)
    measures.add(batch)
    metrics = measures.compute(head.labels)
    labels = [entry["name"] for entry in metrics["classes"]]
    confusion = {
        "labels": labels,
        **(measures.matrix(labels) if len(labels) <= MATRIX_CLASSES else {"rows": None, "weights": None}),
        "largest": measures.largest(LARGEST_CONFUSIONS),
    }
    plain: dict[str, Any] = null_for_nan({**metrics, "confusion_matrix": confusion})
    return plain


def measure_slices(
    head: Head, examples: Examples, foreign_labels: Sequence[str] = ()
) -> dict[str, list[dict[str, Any]]]:
    """Returns accuracy and macro F1 for each value of each attribute that has 2 to DEFAULT_VALUES values.

    An attribute whose values have fewer than two images on average is an identifier, not a slice.

    Args:
      head: as measure.
      examples: as measure; without attributes there are no slices.
      foreign_labels: as measure.
    """
    rows_of: dict[str, dict[str, list[int]]] = {}
    for row, attributes in enumerate(examples.attributes):
        for name, value in attributes.items():
            rows_of.setdefault(name, {}).setdefault(value, []).append(row)
    slices = {}
    for name, values in sorted(rows_of.items()):
        if 2 <= len(values) <= min(DEFAULT_VALUES, len(examples.targets) // 2):
            slices[name] = [
                {"value": value, **_brief(measure(head, examples.take(np.array(rows)), foreign_labels) or {})}
                for value, rows in sorted(values.items())
            ]
    return slices


def _brief(metrics: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: metrics[name] for name in ("rows", "accuracy", "accuracy_interval")}
    return {**kept, "macro_f1": metrics["macro"]["f1"]}


def _measure_several(head: Head, examples: Examples, labels: Sequence[str]) -> dict[str, Any]:
    """Returns the metrics of several labels an image, under the same names where they mean the same.

    ``accuracy`` is the share of images whose labels are all right, ``micro`` adds the decisions of all labels up,
    ``macro`` averages the labels' figures; log loss and calibration error are of single decisions.
    """
    options, batch = MeasureOptions(), set_batch(head, examples, labels)
    sets, cells = (kind(options.exact_cells, options.bits) for kind in (LabelSetMeasures, GroupMeasures))
    sets.add(batch)
    cells.add(cell_batch(batch.scores, examples.targets[:, np.argsort(labels)]))
    found, overall = sets.compute(batch.names), cells.compute(("no", "yes"))
    columns = {entry["name"]: entry for entry in found["classes"]}
    plain: dict[str, Any] = null_for_nan(
        {
            **{name: found[name] for name in ("rows", "accuracy", "accuracy_interval")},
            "majority_accuracy": float(np.bincount(batch.actual).max() / found["rows"]),
            "decision_accuracy": 1 - found["label_sets"]["hamming_loss"],
            "micro": {**found["label_sets"]["micro"], "roc_auc": overall["classes"][1]["roc_auc"]},
            "macro": {figure: found["macro"][figure] for figure in ("precision", "recall", "f1", "roc_auc")},
            **{name: overall[name] for name in ("log_loss", "brier_score", "expected_calibration_error")},
            "classes": [{**columns[name], "known": name in head.labels} for name in labels],
        }
    )
    return plain


def set_batch(head: Head, examples: Examples, labels: Sequence[str]) -> PredictionBatch:
    """Puts what a head says of sets of labels into the form that metrics add up.

    Args:
      head: as measure.
      examples: targets are ``bool[N, labels]``.
      labels: the head's, then those that it does not know, which it never gives.
    """
    order, unknown = np.argsort(labels), len(labels) - len(head.labels)
    known = head.probabilities(examples.vectors)
    scores = np.pad(known, ((0, 0), (0, unknown)))[:, order]
    hits, decided = examples.targets[:, order], np.pad(head.decide(known), ((0, 0), (0, unknown)))[:, order]
    sets, codes = np.unique(np.concatenate([hits, decided]), axis=0, return_inverse=True)
    actual, predicted = codes.reshape(2, len(hits)).astype(np.int64)
    return PredictionBatch(
        names=tuple(labels[place] for place in order),
        classes=tuple(map(str, range(len(sets)))),
        actual=actual,
        predicted=predicted,
        confidence=np.maximum(scores, 1 - scores).min(axis=1).astype(np.float64),
        rank=np.full(len(hits), -1, np.int64),
        length=np.full(len(hits), len(labels), np.int64),
        complete=np.ones(len(hits), np.bool_),
        scores=scores,
        weights=np.ones(len(hits)),
        hits=hits,
        decided=decided,
    )


def cell_batch(probabilities: Array, targets: np.ndarray) -> PredictionBatch:
    """Puts every decision about an image and a label into the form that metrics add up, as one of no and yes.

    Args:
      probabilities: ``float32[N, C]`` that the image has the label.
      targets: ``bool[N, C]``, whether it has.
    """
    yes = probabilities.reshape(-1)
    return prediction_batch(np.stack([1 - yes, yes], axis=1), targets.reshape(-1).astype(np.int32), ("no", "yes"))


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

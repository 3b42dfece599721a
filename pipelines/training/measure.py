"""Measures a head on a split, with the same metrics as ``heliograph evaluate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.training.features import Examples
from transforms.measures.batch import PredictionBatch
from transforms.measures.confusion import mean_of_defined, wilson_interval
from transforms.measures.evaluation import LARGEST_CONFUSIONS, MATRIX_CLASSES, null_for_nan
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
    known = head.probabilities(examples.vectors)
    unknown = len(labels) - known.shape[1]
    decided = np.pad(head.decide(known), ((0, 0), (0, unknown)))
    probabilities, wanted = np.pad(known, ((0, 0), (0, unknown))), examples.targets
    rows = len(wanted)
    exact = float((decided == wanted).all(axis=1).mean())
    _, sets = np.unique(wanted, axis=0, return_counts=True)
    options, columns = MeasureOptions(), []
    cells = GroupMeasures(options.exact_cells, options.bits)
    for index, name in enumerate(labels):
        batch = cell_batch(probabilities[:, [index]], wanted[:, [index]])
        column = GroupMeasures(options.exact_cells, options.bits)
        column.add(batch)
        columns.append({**column.class_figures(batch.names)[1], "name": name, "known": name in head.labels})
        cells.add(batch)
    overall = cells.compute(batch.names)
    figures = ("precision", "recall", "f1", "roc_auc")
    plain: dict[str, Any] = null_for_nan(
        {
            "rows": rows,
            "accuracy": exact,
            "accuracy_interval": list(wilson_interval(exact, rows)),
            "majority_accuracy": float(sets.max() / rows),
            "decision_accuracy": overall["accuracy"],
            "micro": {figure: overall["classes"][1][figure] for figure in figures},
            "macro": {figure: mean_of_defined([column[figure] for column in columns]) for figure in figures},
            "log_loss": overall["log_loss"],
            "brier_score": overall["brier_score"],
            "expected_calibration_error": overall["expected_calibration_error"],
            "classes": columns,
        }
    )
    return plain


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

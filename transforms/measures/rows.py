"""Arrow rows of predictions to arrays; a bad row is counted and left out, it never stops a run."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import InputError
from transforms.measures.batch import AttributeCodes, Bools, DecodedRows, Ints, PredictionBatch
from transforms.measures.label_sets import DECISION
from transforms.measures.properties import image_properties

ROW_COUNTS = ("rows", "measured", "unlabelled", "several_labels", "nan_scores", "bad_rows")
"""``rows`` is the sum of the others: each row is counted under the first reason that keeps it out."""

TRAINING = "training"
"""Of the measured rows, those of the training split."""

NO_ANSWER = "none of these"
"""What a row is said to be whose list of predicted classes is empty."""

TOLERANCE = 1e-6
"""How far outside [0, 1] rounding may carry a confidence before its row is bad."""

_TEXTS = pa.list_(pa.string())
_COLUMNS: dict[str, pa.DataType] = {
    "image_id": pa.string(),
    "image_uri": pa.string(),
    "ids": _TEXTS,
    "displayNames": _TEXTS,
    "confidences": pa.list_(pa.float64()),
    "labels": _TEXTS,
    "predicted": _TEXTS,
    "activation": pa.string(),
    "attributes": pa.map_(pa.string(), pa.string()),
    "model_version": pa.string(),
    "split": pa.string(),
    "weight": pa.float64(),
    "width": pa.float64(),
    "height": pa.float64(),
    "format": pa.string(),
    "brightness": pa.float64(),
    "cluster": pa.string(),
    "cluster_distance": pa.float64(),
}
COLUMNS = tuple(_COLUMNS)
"""The columns that are read; all but NEEDED may be missing, and a missing weight is 1."""

NEEDED = ("displayNames", "confidences")
"""Without these a file holds no predictions."""


class Ragged(NamedTuple):
    """A list column: ``lengths`` (-1 for null), and flat ``values`` with the ``row`` each belongs to."""

    lengths: Ints
    values: pa.Array
    row: Ints
    position: Ints


def normalise(table: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the known columns in their types; what is missing is null, ``label`` stands in for ``labels``.

    Raises:
      InputError: a column has a type that cannot be read, naming both.
    """
    names = table.schema.names
    columns = []
    for name, kind in _COLUMNS.items():
        if name == "confidences" and name in names and _is_float32(table.column(name).type):
            kind = pa.list_(pa.float32())
        if name in names:
            columns.append(_cast(table.column(name), kind, name))
        elif name == "labels" and "label" in names:
            columns.append(_as_lists(_cast(table.column("label"), pa.string(), "label")))
        else:
            columns.append(pa.nulls(table.num_rows, kind))
    return pa.RecordBatch.from_arrays(columns, names=list(_COLUMNS))


def decode_rows(table: pa.RecordBatch, multi_label: bool = False) -> DecodedRows:
    """Checks each row and returns the sound ones as arrays.

    A row is bad when it names no class, names one twice, lists of unequal length stand in it, a confidence
    is outside [0, 1] or its weight is negative or not finite. Rows with NaN or infinite confidences, with no
    label or, unless they may have, with several are counted apart.

    Args:
      table: rows as ``normalise`` accepts them.
      multi_label: a row may have several labels, and its confidences are of each class alone.

    Raises:
      InputError: as normalise does.
    """
    table = normalise(table)
    names, confidences = _ragged(table.column("displayNames")), _ragged(table.column("confidences"))
    labels = _labels(table.column("labels"))
    several = labels.lengths * 0 if multi_label else labels.lengths
    reason = _reasons(table, names, confidences, labels.lengths, several > 1)
    counts = {"rows": table.num_rows}
    for code, name in enumerate(ROW_COUNTS[1:]):
        counts[name] = int((reason == code).sum())
    measured = reason == 0
    kept = table.filter(pa.array(measured))
    counts[TRAINING] = pc.sum(pc.equal(kept.column("split"), "train"), min_count=0).as_py()
    return DecodedRows(
        counts=counts,
        measured=measured,
        batch=_encode_sets(kept) if multi_label else _encode(kept),
        table=kept.select(["image_id", "image_uri"]),
        attributes=_attributes(kept.column("attributes")) | image_properties(kept),
        distance=_floats(kept.column("cluster_distance"), np.nan),
        model_versions=frozenset(pc.unique(kept.column("model_version").drop_null()).to_pylist()),
    )


def _reasons(table: pa.RecordBatch, names: Ragged, confidences: Ragged, labels: Ints, several: Bools) -> Ints:
    """Index into ROW_COUNTS[1:] for each row; the last that is written wins."""
    rows = table.num_rows
    values = confidences.values.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        outside = (values < -TOLERANCE) | (values > 1 + TOLERANCE)
    finite = np.isfinite(values)
    reason = np.zeros(rows, np.int64)
    reason[several] = 2
    reason[labels <= 0] = 1
    reason[_any(~finite, confidences.row, rows)] = 3
    ids = table.column("ids")
    ids_length = _ragged(ids).lengths
    bad = (names.lengths < 1) | (names.lengths != confidences.lengths)
    bad |= (ids_length >= 0) & (ids_length != names.lengths)
    bad |= _any(finite & outside, confidences.row, rows)
    bad |= _any(names.values.is_null().to_numpy(zero_copy_only=False), names.row, rows)
    bad |= _repeated(names, rows)
    weights = _floats(table.column("weight"), 1.0)
    bad |= ~(np.isfinite(weights) & (weights >= 0))
    reason[bad] = 4
    return reason


def _encode(table: pa.RecordBatch) -> PredictionBatch:
    """Sound rows to arrays; every list has at least one entry and no row names a class twice."""
    rows = table.num_rows
    named = _ragged(table.column("displayNames"))
    label = _labels(table.column("labels")).values
    names = tuple(sorted(pc.unique(named.values).to_pylist()))
    answer = _answers(table.column("predicted"))
    said = pc.unique(answer.drop_null()).to_pylist()
    classes = tuple(sorted({*names, *pc.unique(label).to_pylist(), *said}))
    code, value, row = _best_first(table, named, classes)
    actual = _codes(label, classes)
    start = np.cumsum(named.lengths) - named.lengths
    rank = np.full(rows, -1, np.int64)
    hit = np.flatnonzero(code == actual[row])
    rank[row[hit]] = hit - start[row[hit]]
    complete = named.lengths == len(names)
    return PredictionBatch(
        names=names,
        classes=classes,
        actual=actual,
        predicted=np.where(answer.is_valid().to_numpy(zero_copy_only=False), _codes(answer, classes), code[start]),
        confidence=value[start].astype(np.float64),
        rank=rank,
        length=named.lengths,
        complete=complete,
        scores=_score_matrix(code, value, row, complete, (names, classes)),
        weights=_floats(table.column("weight"), 1.0),
    )


def _encode_sets(table: pa.RecordBatch) -> PredictionBatch:
    """Sound rows to arrays; a class is predicted when its confidence is above one half."""
    rows = table.num_rows
    named, labels = _ragged(table.column("displayNames")), _labels(table.column("labels"))
    names = tuple(sorted(pc.unique(named.values).to_pylist()))
    said = pc.unique(table.column("predicted").flatten()).to_pylist()
    every = tuple(sorted({*names, *pc.unique(labels.values).to_pylist(), *said}))
    code, value, row = _best_first(table, named, every)
    truth, decided = np.zeros((2, rows, len(every)), np.bool_)
    truth[labels.row, _codes(labels.values, every)] = True
    answer = _ragged(table.column("predicted"))
    called = (value > DECISION) & (answer.lengths < 0)[row]
    decided[row[called], code[called]] = True
    decided[answer.row, _codes(answer.values, every)] = True
    sets, place = np.unique(np.concatenate([truth, decided]), axis=0, return_inverse=True)
    texts = [" + ".join(every[index] for index in np.flatnonzero(entry)) or "nothing" for entry in sets]
    classes = tuple(sorted(texts))
    order = np.array([classes.index(text) for text in texts], np.int64)[place.reshape(-1)]
    complete = named.lengths == len(names)
    mine = _codes(pa.array(names, pa.string()), every)
    surest = np.maximum(value, 1 - value).astype(np.float64)
    return PredictionBatch(
        names=names,
        classes=classes,
        actual=order[:rows],
        predicted=order[rows:],
        confidence=np.minimum.reduceat(surest, np.cumsum(named.lengths) - named.lengths) if rows else np.zeros(0),
        rank=np.full(rows, -1, np.int64),
        length=named.lengths,
        complete=complete,
        scores=_score_matrix(code, value, row, complete, (names, every)),
        weights=_floats(table.column("weight"), 1.0),
        hits=truth[complete][:, mine],
        decided=decided[complete][:, mine],
    )


def _answers(column: pa.Array) -> pa.Array:
    """What each row is said to be; null where it does not say, so that the most confident class is meant."""
    lengths = pc.list_value_length(column)
    first = pc.list_element(pc.if_else(pc.greater(lengths, 0), column, pa.scalar([NO_ANSWER], column.type)), 0)
    return pc.if_else(pc.is_valid(lengths), first, pa.scalar(None, pa.string()))


def _best_first(table: pa.RecordBatch, named: Ragged, classes: tuple[str, ...]) -> tuple[Ints, npt.NDArray[Any], Ints]:
    """Class, confidence and row of each entry, best first within its row, ties as they stand in the list."""
    given = _ragged(table.column("confidences"))
    value = np.clip(given.values.to_numpy(zero_copy_only=False), 0, 1)
    order = np.lexsort((named.position, -value, named.row))
    return _codes(named.values, classes)[order], value[order], named.row[order]


def _score_matrix(
    code: Ints, value: npt.NDArray[Any], row: Ints, complete: Bools, vocabularies: tuple[tuple[str, ...], ...]
) -> npt.NDArray[Any]:
    """The confidences of the complete rows by name; ``code`` points into the second of the vocabularies."""
    names, classes = (np.array(words, object) for words in vocabularies)
    column = np.searchsorted(names, classes) if len(names) else np.zeros(0, np.int64)
    whole = complete[row]
    scores = np.zeros((int(complete.sum()), len(names)), value.dtype)
    place = np.cumsum(complete) - 1
    scores[place[row[whole]], column[code[whole]]] = value[whole]
    return scores


def _codes(texts: pa.Array, vocabulary: tuple[str, ...]) -> Ints:
    found = pc.fill_null(pc.index_in(texts, pa.array(vocabulary, pa.string())), -1)
    codes: Ints = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _floats(column: pa.Array, missing: float) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = pc.fill_null(column, missing).to_numpy(zero_copy_only=False)
    return values


def _attributes(column: pa.MapArray) -> dict[str, AttributeCodes]:
    rows = len(column)
    offsets = column.offsets.to_numpy()
    span = slice(offsets[0], offsets[-1])
    keys, items = column.keys[span], column.items[span]
    row = np.repeat(np.arange(rows), np.diff(offsets))
    given = items.is_valid().to_numpy(zero_copy_only=False) & column.is_valid().to_numpy(zero_copy_only=False)[row]
    keys, items, row = keys.filter(pa.array(given)), items.filter(pa.array(given)), row[given]
    found: dict[str, AttributeCodes] = {}
    for name in sorted(pc.unique(keys).to_pylist()):
        mine = pc.equal(keys, name)
        texts = items.filter(mine)
        values = tuple(sorted(pc.unique(texts).to_pylist()))
        codes = np.full(rows, -1, np.int64)
        position = pc.index_in(texts, pa.array(values, pa.string())).to_numpy(zero_copy_only=False)
        codes[row[mine.to_numpy(zero_copy_only=False)]] = position
        found[name] = AttributeCodes(values=values, codes=codes)
    return found


def _labels(column: pa.Array) -> Ragged:
    """The labels that are neither null nor blank."""
    ragged = _ragged(column)
    text = pc.utf8_trim_whitespace(ragged.values)
    kept = pc.fill_null(pc.not_equal(text, ""), False)
    mask = kept.to_numpy(zero_copy_only=False)
    row = ragged.row[mask]
    lengths = np.bincount(row, minlength=len(column)).astype(np.int64)
    return Ragged(lengths, ragged.values.filter(kept), row, ragged.position[mask])


def _ragged(column: pa.Array) -> Ragged:
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    size = np.maximum(lengths, 0)
    row = np.repeat(np.arange(len(column)), size)
    position = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size)
    return Ragged(lengths, column.flatten(), row, position)


def _any(flags: Bools, row: Ints, rows: int) -> Bools:
    found = np.zeros(rows, np.bool_)
    found[row[flags]] = True
    return found


def _repeated(names: Ragged, rows: int) -> Bools:
    """Rows that name a class twice."""
    codes = names.values.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    order = np.lexsort((codes, names.row))
    row, code = names.row[order], codes[order]
    same = np.flatnonzero((row[1:] == row[:-1]) & (code[1:] == code[:-1]))
    repeated = np.zeros(rows, np.bool_)
    repeated[row[same]] = True
    return repeated


def _cast(column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    if column.type == kind:
        return column
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise InputError(f"column {name} of the predictions is {column.type}, needed is {kind}") from error


def _is_float32(kind: pa.DataType) -> bool:
    nested: Any = getattr(kind, "value_type", None)
    return bool(nested is not None and pa.types.is_float32(nested))


def _as_lists(column: pa.Array) -> pa.Array:
    """One label a row to lists of one; null stays null."""
    offsets: npt.NDArray[np.int32] = np.arange(len(column) + 1, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), column)

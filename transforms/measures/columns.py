"""Predictions that others made: their columns as those of ours, by what the flags say."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import InputError, OptionError

YES, NO = ("true", "yes", "t", "y"), ("false", "no", "f", "n")
_POSITIVE = 0.5
_ADDRESS = "image_uri"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnMapping:
    """Which columns hold what; empty for those that have our names.

    Attributes:
      label: column or attribute with the label.
      scores: a column a class, as ``CLASS=COLUMN`` or ``COLUMN``; one alone is the score of the positive class.
      positive_label: the label that a single score is of; empty for true, yes and numbers of at least 0.5.
      weight: column or attribute with the weight of a row.
      id: column or attribute that identifies a row.
    """

    label: str = ""
    scores: tuple[str, ...] = ()
    positive_label: str = ""
    weight: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        if self.scores and not self.label:
            raise OptionError("--score-column needs --label-column, the column with the true labels")
        if len(set(self.classes)) < len(self.classes):
            raise OptionError(f"--score-column names a class twice: {', '.join(self.classes)}")

    @property
    def foreign(self) -> bool:
        """Whether scores stand in columns of their own."""
        return bool(self.scores)

    @property
    def any(self) -> bool:
        """Whether anything is mapped."""
        return any(dataclasses.astuple(self))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, the positive one first when there is a single score."""
        names = tuple(name.rpartition("=")[0] or name for name in self.scores)
        if len(names) != 1:
            return names
        positive = self.positive_label or names[0]
        return positive, f"not {positive}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the scores."""
        return tuple(name.rpartition("=")[2] for name in self.scores)


def map_columns(table: pa.RecordBatch, mapping: ColumnMapping) -> pa.RecordBatch:
    """Returns rows with our columns; further columns of single values become attributes where scores are mapped.

    Raises:
      InputError: a column is missing, or a label is neither yes nor no.
    """
    if not mapping.any:
        return table
    columns = {name: table.column(name) for name in table.schema.names}
    if mapping.foreign:
        columns = _foreign(mapping, columns)
    elif mapping.label:
        columns["labels"] = _lists_of(_find(columns, mapping.label))
        columns.pop("label", None)
    if mapping.weight:
        weight = _numbers(_find(columns, mapping.weight))
        columns["weight"] = pa.array(np.nan_to_num(weight, nan=np.inf))  # a row without its weight is a bad one
    if mapping.id:
        columns["image_id"] = _text(_find(columns, mapping.id))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _foreign(mapping: ColumnMapping, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    scores = np.stack([_numbers(_find(columns, name)) for name in mapping.columns], axis=1)
    label = _find(columns, mapping.label)
    if scores.shape[1] == 1:
        scores = np.concatenate([scores, 1 - scores], axis=1)
        label = _as_classes(label, mapping)
        order = np.where(scores[:, :1] > _POSITIVE, [[0, 1]], [[1, 0]])  # at one half it is not the positive class
        scores = np.take_along_axis(scores, order, axis=1)
        names = np.array(mapping.classes, object)[order]
    else:
        names = np.broadcast_to(np.array(mapping.classes, object), scores.shape)
    rows, width = scores.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    used = {*mapping.columns, mapping.label, mapping.id, mapping.weight, _ADDRESS}
    further = {name: column for name, column in columns.items() if name not in used and is_single(column.type)}
    mapped = {
        "displayNames": pa.ListArray.from_arrays(offsets, pa.array(names.ravel(), pa.string())),
        "confidences": pa.ListArray.from_arrays(offsets, pa.array(scores.ravel(), pa.float64())),
        "labels": _lists_of(label),
        "attributes": _attributes(further, rows),
    }
    kept = {name: columns[name] for name in (mapping.id, mapping.weight, _ADDRESS) if name in columns}
    return kept | mapped


def _find(columns: dict[str, pa.Array], name: str) -> pa.Array:
    """A column, or the attribute of that name."""
    if name in columns:
        return columns[name]
    attributes = columns.get("attributes")
    if attributes is not None and pa.types.is_map(attributes.type):
        return pc.map_lookup(attributes, query_key=pa.scalar(name, attributes.type.key_type), occurrence="first")
    raise InputError(f"there is no column {name!r}; there are {', '.join(sorted(columns)[:20])}")


def _as_classes(label: pa.Array, mapping: ColumnMapping) -> pa.Array:
    """Labels as the positive class or its opposite, null where there is none."""
    coded = _text(label).dictionary_encode()
    names = [_class_of(value, mapping) for value in coded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(coded.indices, pa.array(names, pa.string())).cast(pa.string())


def _class_of(value: str, mapping: ColumnMapping) -> str | None:
    text = value.strip()
    positive, negative = mapping.classes
    if not text:
        return None
    number = _number(text)
    if mapping.positive_label:
        wanted = _number(mapping.positive_label)
        return positive if text == mapping.positive_label or (number == wanted and wanted is not None) else negative
    if number is not None:
        return positive if number >= _POSITIVE else negative
    if text.lower() in (*YES, *NO):
        return positive if text.lower() in YES else negative
    raise InputError(
        f"label {value!r} in column {mapping.label!r} is neither a number nor true or false: name the label that "
        f"{mapping.columns[0]!r} is the score of with --positive-label"
    )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _numbers(column: pa.Array) -> npt.NDArray[np.float64]:
    """Numbers; what is none is NaN."""
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return np.asarray(pc.fill_null(column.cast(pa.float64()), math.nan), np.float64)
    if not is_single(column.type):
        raise InputError(f"a score or weight stands in a column of type {column.type}, needed is a number")
    texts = _text(column).to_pylist()
    found = (None if text is None else _number(text) for text in texts)
    return np.array([math.nan if value is None else value for value in found], np.float64)


def _lists_of(column: pa.Array) -> pa.Array:
    """Labels as lists; a list stays one."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return column.cast(pa.list_(pa.string()))
    offsets: npt.NDArray[np.int32] = np.arange(len(column) + 1, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), _text(column))


def _text(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string())


def is_single(kind: pa.DataType) -> bool:
    """Returns whether a column of this type has a text, a number or a truth value a row."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
    )


def _attributes(columns: dict[str, pa.Array], rows: int) -> pa.MapArray:
    """Columns as a map from their names; an empty text is no value."""
    names, width = sorted(columns), len(columns)
    if not names:
        return pa.nulls(rows, pa.map_(pa.string(), pa.string()))
    flat = pa.concat_arrays([_text(columns[name]) for name in names])
    flat = pc.replace_with_mask(flat, pc.fill_null(pc.equal(flat, ""), False), pa.scalar(None, pa.string()))
    across = np.arange(rows * width).reshape(width, rows).T.ravel()
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    return pa.MapArray.from_arrays(offsets, pa.array(names * rows, pa.string()), flat.take(pa.array(across)))

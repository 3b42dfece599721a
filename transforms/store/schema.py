"""The columns of what the store and its neighbours hold, and the metadata of tables and files."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from transforms.encoders.specification import EncoderSpecification
from transforms.errors import StoreError

FORMAT_VERSION = "1"
"""Raised when a reader of ours must change to understand a table."""

FORMAT_KEY = "heliograph.format"
SPECIFICATION_KEY = "heliograph.encoder"
FINGERPRINT_KEY = "heliograph.encoder_fingerprint"
GOLDEN_KEY = "heliograph.golden"
DIMENSION_KEY = "heliograph.dimension"
VIEWS_KEY = "heliograph.views"
"""Of a table: which views an embed run makes when it is not told. Of a view, among its attributes: the policy."""

STATISTICS_COLUMNS = ("image_id", "split", "view_id", "run_id")
"""The columns whose range and nulls the log knows for every data file."""

_TIMESTAMP = pa.timestamp("us", tz="UTC")
_STRINGS = pa.list_(pa.field("element", pa.string()))
_ATTRIBUTES = pa.map_(pa.string(), pa.string())
_VECTOR = pa.list_(pa.field("element", pa.float32(), nullable=False))  # reads twice as fast as nullable
_CONFIDENCES = pa.list_(pa.field("element", pa.float32()))


def feature_schema(dimension: int) -> pa.Schema:
    """Returns the schema of a feature row; ``embedding`` holds ``dimension`` float32 values."""
    columns = [
        ("image_id", pa.string()),
        ("image_uri", pa.string()),
        ("sha256", pa.string()),
        ("event_timestamp", _TIMESTAMP),
        ("created", _TIMESTAMP),
        ("split", pa.string()),
        ("labels", _STRINGS),
        ("group", pa.string()),
        ("view_id", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("byte_size", pa.int64()),
        ("attributes", _ATTRIBUTES),
        ("source_fingerprint", pa.string()),
        ("run_id", pa.string()),
        ("embedding", _VECTOR),
    ]
    return pa.schema(columns, metadata={DIMENSION_KEY: str(dimension)})


DEAD_LETTER_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image_uri", pa.string()),
        ("sha256", pa.string()),
        ("stage", pa.string()),
        ("error_class", pa.string()),
        ("error_type", pa.string()),
        ("error_message", pa.string()),
        ("attempt", pa.int32()),
        ("run_id", pa.string()),
        ("created", _TIMESTAMP),
        ("split", pa.string()),
        ("labels", _STRINGS),
        ("group", pa.string()),
        ("attributes", _ATTRIBUTES),
        ("source_fingerprint", pa.string()),
    ]
)
"""A dead letter: one image, one row, one reason, and all that a retry needs."""


def prediction_schema() -> pa.Schema:
    """Returns the schema of a prediction row; ids, names and confidences stand best first.

    ``activation`` is ``softmax`` for one label an image and ``sigmoid`` for several; ``predicted`` are the labels
    that the model says the image has, best first: one of a softmax, any number of sigmoids.
    """
    return pa.schema(
        [
            ("image_id", pa.string()),
            ("image_uri", pa.string()),
            ("sha256", pa.string()),
            ("ids", _STRINGS),
            ("displayNames", _STRINGS),
            ("confidences", _CONFIDENCES),
            ("predicted", _STRINGS),
            ("activation", pa.string()),
            ("model_version", pa.string()),
            ("scored_at", _TIMESTAMP),
            ("labels", _STRINGS),
            ("split", pa.string()),
            ("group", pa.string()),
            ("attributes", _ATTRIBUTES),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("format", pa.string()),
            ("byte_size", pa.int64()),
            ("brightness", pa.float32()),
        ]
    )


def file_metadata(specification: EncoderSpecification) -> dict[str, str]:
    """Returns the key-value metadata that every Parquet file of the encoder's table carries."""
    return {
        FORMAT_KEY: FORMAT_VERSION,
        SPECIFICATION_KEY: json.dumps(specification.to_json(), sort_keys=True),
        FINGERPRINT_KEY: specification.fingerprint,
        "heliograph.preprocessing_fingerprint": specification.preprocessing.fingerprint,
        "heliograph.engine": specification.engine,
        "heliograph.precision": specification.precision,
        DIMENSION_KEY: str(specification.dimension),
    }


def table_configuration(specification: EncoderSpecification, golden: np.ndarray) -> dict[str, str]:
    """Returns the configuration that the table's log carries: what files have, and the golden vectors.

    Args:
      golden: ``float32[G, dimension]``, the encoder's vectors of the golden images.
    """
    vectors = np.ascontiguousarray(golden, dtype="<f4")
    if vectors.ndim != 2 or vectors.shape[1] != specification.dimension:
        raise ValueError(f"golden vectors must be [G, {specification.dimension}], got {list(vectors.shape)}")
    packed = {"shape": list(vectors.shape), "float32": base64.b64encode(vectors.tobytes()).decode()}
    return {
        **file_metadata(specification),
        GOLDEN_KEY: json.dumps(packed),
        "delta.dataSkippingStatsColumns": ",".join(STATISTICS_COLUMNS),
        "delta.enableExpiredLogCleanup": "false",  # versions can be read again for as long as the table lives
    }


def read_configuration(configuration: Mapping[str, str], path: str) -> tuple[EncoderSpecification, np.ndarray]:
    """The inverse of table_configuration.

    Raises:
      StoreError: for a table that Heliograph did not make, or made in a format that this version cannot read.
    """
    if FINGERPRINT_KEY not in configuration:
        raise StoreError(f"{path} is a Delta table but no feature table; name a store that `heliograph embed` made")
    found = configuration.get(FORMAT_KEY, "")
    if found != FORMAT_VERSION:
        raise StoreError(f"{path} has format {found!r}, this version reads {FORMAT_VERSION!r}; upgrade heliograph")
    try:
        specification = EncoderSpecification.from_json(json.loads(configuration[SPECIFICATION_KEY]))
        packed = json.loads(configuration[GOLDEN_KEY])
        golden = np.frombuffer(base64.b64decode(packed["float32"]), dtype="<f4").reshape(packed["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path} has damaged metadata ({error!r}); restore the table or embed into a new store"
        ) from error
    if specification.fingerprint != configuration[FINGERPRINT_KEY]:
        raise StoreError(
            f"{path} says fingerprint {configuration[FINGERPRINT_KEY]}, its encoder has "
            f"{specification.fingerprint}; another version of heliograph made it, embed into a new store"
        )
    return specification, golden.astype(np.float32)


def schema_difference(found: pa.Schema, expected: pa.Schema, extra_allowed: bool = False) -> str:
    """Names the first column by which two schemas differ, empty when they agree.

    The order of columns, their nullability and the spelling of string types (views, large) are no difference.
    """
    for field in expected:
        if field.name not in found.names:
            return f"column {field.name!r} is missing"
        other = found.field(field.name).type
        if plain_type(other) != plain_type(field.type):
            return f"column {field.name!r} is {other}, expected {field.type}"
    extra = [] if extra_allowed else [name for name in found.names if name not in expected.names]
    return f"column {extra[0]!r} is unknown" if extra else ""


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Returns the type without what writers spell differently: element names, nullability, views, large."""
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(pa.field("element", plain_type(kind.value_type)))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return kind


def subset(schema: pa.Schema, columns: Iterable[str]) -> pa.Schema:
    """Returns the schema of some columns, in the order given.

    Raises:
      ValueError: for a column that the schema does not have.
    """
    names = list(columns)
    unknown = [name for name in names if name not in schema.names]
    if unknown:
        raise ValueError(f"no column {unknown[0]!r}; there are {', '.join(schema.names)}")
    return pa.schema([schema.field(name) for name in names])


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Selects the columns and casts them, since other writers spell strings and elements differently.

    To be done before anything else: Arrow cannot filter string views.
    """
    chosen = table.select(schema.names).replace_schema_metadata(None)
    return chosen if chosen.schema.equals(schema) else chosen.cast(schema)

"""Small tables with known contents."""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from transforms.encoders.specification import EncoderSpecification, Preprocessing
from transforms.store.read import read_features
from transforms.store.table import FeatureTable
from transforms.store.write import Columns, Part, PartWriter

DIMENSION = 8
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)


def specification(dimension: int = DIMENSION, name: str = "tiny", weights: str = "0" * 64) -> EncoderSpecification:
    return EncoderSpecification(
        name=name,
        source="drawn by the tests",
        weights_sha256=weights,
        preprocessing=Preprocessing(height=4, width=6),
        scale=(1 / 128, 0.1, 2.0),
        offset=(-1.0, 0.0, 1.5),
        dimension=dimension,
    )


GOLDEN = np.linspace(-1, 1, 3 * DIMENSION, dtype=np.float32).reshape(3, DIMENSION)


def make_table(store: Path) -> FeatureTable:
    encoder = specification()
    return FeatureTable.create(str(store / encoder.table_name), encoder, GOLDEN)


def image_id(number: int) -> str:
    return hashlib.sha256(f"id {number}".encode()).hexdigest()[:32]


def content(number: int, generation: int = 0) -> str:
    return hashlib.sha256(f"content {number} {generation}".encode()).hexdigest()


def vector(number: int, generation: int = 0, view: int = 0, dimension: int = DIMENSION) -> np.ndarray:
    seed = number * 10_000 + generation * 100 + view
    return np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)


def split_of(number: int) -> str:
    return ("train", "train", "train", "validation", "test")[number % 5]


def columns(
    numbers: Sequence[int],
    generation: int = 0,
    run_id: str = "run",
    views: int = 1,
    dimension: int = DIMENSION,
) -> dict[str, object]:
    rows = [(number, view) for number in numbers for view in range(views)]
    count = len(rows)
    return {
        "image_id": [image_id(number) for number, _ in rows],
        "image_uri": [f"/photographs/ä {number}.jpg" for number, _ in rows],
        "sha256": [content(number, generation) for number, _ in rows],
        "event_timestamp": [NOW] * count,
        "created": [NOW] * count,
        "split": [split_of(number) for number, _ in rows],
        "labels": [tuple(f"label {k}" for k in range(number % 3)) for number, _ in rows],
        "group": ["" if number % 2 else f"group {number}" for number, _ in rows],
        "view_id": [view for _, view in rows],
        "width": [600] * count,
        "height": [400] * count,
        "format": ["JPEG"] * count,
        "byte_size": [55_000] * count,
        "attributes": [{"cell": "mono", "n": str(number)} if number % 4 else {} for number, _ in rows],
        "source_fingerprint": [f"{number}-{generation}" for number, _ in rows],
        "run_id": [run_id] * count,
        "embedding": np.stack([vector(number, generation, view, dimension) for number, view in rows])
        if rows
        else np.zeros((0, dimension), dtype=np.float32),
    }


def write_part(
    table: FeatureTable, numbers: Sequence[int], generation: int = 0, *, views: int = 1, run_id: str = "run"
) -> Part:
    return write_columns(table, columns(numbers, generation, run_id, views))


def write_columns(
    table: FeatureTable, batch: Columns, metadata: Mapping[str, str] | None = None, **options: str
) -> Part:
    path = f"data/part-{uuid.uuid4().hex}.parquet"
    with PartWriter(table.path, path, table.schema, metadata or table.file_metadata, **options) as writer:
        writer.write(batch)
    return writer.part


def contents(path: str, version: int | None = None) -> dict[str, str]:
    """Image id to content, failing when an image has two rows."""
    features = read_features(FeatureTable.open(path, version))
    assert len(set(features.image_ids)) == len(features.image_ids), "an image has two rows"
    return dict(zip(features.image_ids, features.sha256, strict=True))


def expected(numbers: Sequence[int], generation: int = 0) -> dict[str, str]:
    return {image_id(number): content(number, generation) for number in numbers}


def live_and_dead(table: FeatureTable) -> tuple[set[str], set[str]]:
    """Names of the live data files, and of all others under ``data/``."""
    live = {Path(file.path).name for file in FeatureTable.open(table.path).data_files()}
    return live, {path.name for path in Path(table.path, "data").iterdir()} - live

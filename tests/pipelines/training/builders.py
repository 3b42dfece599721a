"""Tables of known vectors, and an encoder small enough to be trained on and exported in a test."""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.encoders.specification import EncoderSpecification, Preprocessing
from transforms.store.read import Features
from transforms.store.table import FeatureTable
from transforms.store.write import PartWriter

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
DIMENSION = 6


def clouds(count: int, classes: int, *, seed: int, distance: float = 2.0, dimension: int = DIMENSION):
    """Vectors round a corner for each class, badly scaled and with one column that does not vary."""
    generator = np.random.default_rng(seed)
    targets = (np.arange(count) % classes).astype(np.int32)
    corners = np.eye(classes, dimension) * distance
    vectors = generator.normal(size=(count, dimension)) + corners[targets]
    vectors = vectors * np.logspace(-2, 2, dimension) + 7
    vectors[:, -1] = 7
    return vectors.astype(np.float32), targets


def features(
    vectors: np.ndarray,
    labels: Sequence[Sequence[str]],
    groups: Sequence[str] | None = None,
    contents: Sequence[str] | None = None,
) -> Features:
    count = len(vectors)
    return Features(
        embeddings=vectors,
        image_ids=[f"id{number}" for number in range(count)],
        image_uris=[f"/images/{number}.png" for number in range(count)],
        sha256=list(
            contents or [f"{row.tobytes().hex()} {number}" for number, row in enumerate(np.ascontiguousarray(vectors))]
        ),
        labels=[tuple(names) for names in labels],
        groups=list(groups or [""] * count),
    )


def specification(dimension: int = DIMENSION, name: str = "tiny") -> EncoderSpecification:
    return EncoderSpecification(
        name=name,
        source="drawn by the tests",
        weights_sha256="0" * 64,
        preprocessing=Preprocessing(height=8, width=8),
        scale=(1.0, 1.0, 1.0),
        offset=(0.0, 0.0, 0.0),
        dimension=dimension,
    )


def save_tiny_encoder(path: Path, dimension: int = DIMENSION) -> str:
    """Saves a Keras model of a few random weights, 8×8 pixels to ``dimension`` numbers; returns its path."""
    import keras

    inputs = keras.Input((8, 8, 3))
    images = keras.layers.Conv2D(8, 3, kernel_initializer=keras.initializers.HeNormal(seed=1))(inputs)
    images = keras.layers.Flatten()(keras.layers.ReLU()(images))
    outputs = keras.layers.Dense(dimension, kernel_initializer=keras.initializers.HeNormal(seed=2))(images)
    keras.Model(inputs, outputs).save(path)
    return str(path)


def make_tiny_store(
    root: Path, vectors: np.ndarray, labels: Sequence[Sequence[str]], splits: Sequence[str], **options: Any
) -> Path:
    """Makes a store, as make_table, whose encoder is a tiny one that is there; returns its path."""
    path = save_tiny_encoder(root / "tiny.keras", dimension=vectors.shape[1])
    encoder = resolve_encoder(path, pixel_range=(-1, 1))
    golden = load_encoder(encoder).encode(golden_images(encoder))
    make_table(root / "store", vectors, labels, splits, encoder=encoder, golden=golden, **options)
    return root / "store"


def make_table(
    store: Path,
    vectors: np.ndarray,
    labels: Sequence[Sequence[str]],
    splits: Sequence[str],
    *,
    encoder: EncoderSpecification | None = None,
    golden: np.ndarray | None = None,
    views: Sequence[int] | None = None,
    run_id: str = "run",
    attributes: Sequence[Mapping[str, str]] | None = None,
) -> FeatureTable:
    """Makes a table, or adds to it, with one row a vector."""
    encoder = encoder or specification(vectors.shape[1])
    golden = np.zeros((2, encoder.dimension), np.float32) if golden is None else golden
    table = FeatureTable.create(str(store / encoder.table_name), encoder, golden)
    count = len(vectors)
    views = list(views or [0] * count)
    names = [f"{run_id} {number - view}" for number, view in enumerate(views)]  # a view follows its image
    columns = {
        "image_id": [hashlib.sha256(name.encode()).hexdigest()[:32] for name in names],
        "image_uri": [f"/photographs/{name}.jpg" for name in names],
        "sha256": [hashlib.sha256(b"content" + name.encode()).hexdigest() for name in names],
        "event_timestamp": [NOW] * count,
        "created": [NOW] * count,
        "split": list(splits),
        "labels": [tuple(entry) for entry in labels],
        "group": [""] * count,
        "view_id": views,
        "width": [8] * count,
        "height": [8] * count,
        "format": ["PNG"] * count,
        "byte_size": [100] * count,
        "attributes": list(attributes or [{}] * count),
        "source_fingerprint": [""] * count,
        "run_id": [run_id] * count,
        "embedding": vectors,
    }
    with PartWriter(table.path, f"data/part-{uuid.uuid4().hex}.parquet", table.schema, table.file_metadata) as writer:
        writer.write(columns)
    table.append(run_id, [writer.part])
    return FeatureTable.open(table.path)

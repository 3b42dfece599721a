"""Heads and model directories with known contents, made without TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from transforms.encoders.specification import EncoderSpecification, Preprocessing
from transforms.model.directory import FORMAT
from transforms.model.head import Head

GOLDEN = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


def array(*rows: Any) -> np.ndarray:
    return np.array(rows, np.float32)


def linear_head(**changes: Any) -> Head:
    fields: dict[str, Any] = {
        "labels": ("cat", "dog"),
        "mean": array(1, 2, 3),
        "std": array(2, 4, 8),
        "layers": ((array([1, -1], [0.5, 0], [0, 2]), array(0.25, -0.25)),),
        "temperature": 2.0,
    }
    return Head(**(fields | changes))


def encoder(weights: str = "0" * 64) -> EncoderSpecification:
    return EncoderSpecification(
        name="tiny",
        source="drawn by the tests",
        weights_sha256=weights,
        preprocessing=Preprocessing(height=4, width=6),
        scale=(1.0, 1.0, 1.0),
        offset=(0.0, 0.0, 0.0),
        dimension=3,
    )


def write_version(directory: Path, fitted: Head | None = None, **changes: Any) -> Path:
    """Writes one version as ``heliograph train`` does, with a stand-in for the SavedModel."""
    head = fitted or linear_head()
    directory.mkdir(parents=True)
    (directory / "head.npz").write_bytes(head.to_bytes())
    (directory / "saved_model.pb").write_bytes(b"graph")
    np.save(directory / "golden.npy", GOLDEN)
    (directory / "metrics.json").write_text(json.dumps({"validation": {"accuracy": 0.5}, "test": None}))
    (directory / "config.json").write_text("{}")
    fields: dict[str, Any] = {
        "format": FORMAT,
        "created": "2026-01-02T03:04:05+00:00",
        "training_digest": "d" * 16,
        "encoder": encoder().to_json(),
        "encoder_fingerprint": encoder().fingerprint,
        "head": head.to_json(),
        "data": {"table": "tiny-00000000", "table_version": 3},
        "files": {"head.npz": len(head.to_bytes()), "saved_model.pb": 5},
    }
    (directory / "model.json").write_text(json.dumps(fields | changes))
    return directory

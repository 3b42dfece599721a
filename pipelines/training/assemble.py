"""What a model directory holds, put together from a training."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipelines.training import export, publish
from pipelines.training.calibrate import TemperatureFit, calibration_error
from pipelines.training.card_page import card_page
from pipelines.training.features import Splits
from pipelines.training.fit_head import Fit
from pipelines.training.measure import measure, measure_slices
from pipelines.training.model_card import model_card
from transforms.encoders.calibration import fetch_calibration, publish_calibration
from transforms.encoders.specification import EncoderSpecification, fields_digest
from transforms.files.filesystem import join
from transforms.model.directory import FORMAT, ModelDirectory
from transforms.model.head import Head
from transforms.shards.record import peak_memory_mb, software_versions
from transforms.store.read import iterate
from transforms.store.table import FeatureTable

TRAINING_VERSION = 3
"""Raised whenever the same data and configuration would give another model."""

_SEALED = ("model.json", "model_card.md", "model_card.html")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What a training starts from.

    Attributes:
      specification: of the encoder.
      golden: ``float32[G, D]``, the encoder's vectors of the golden images.
      data: what is read; of a table, as describe_data.
      digest: the same for equal data, settings and code.
    """

    specification: EncoderSpecification
    golden: npt.NDArray[np.float32]
    data: dict[str, Any]
    digest: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """A finished training.

    Attributes:
      source: that it started from.
      head: calibrated.
      metrics: of metrics.json.
      configuration: of config.json.
      command: that repeats it.
      started_at: seconds since the epoch.
      files: further files of the model's directory, by name.
      encoder_file: name among ``copies`` of the model's own encoder; empty when it is another's.
      copies: local files and directories that belong there as well, by name.
    """

    source: Source
    head: Head
    metrics: dict[str, Any]
    configuration: dict[str, Any]
    command: str
    started_at: float
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    encoder_file: str = ""
    copies: Mapping[str, str] = dataclasses.field(default_factory=dict)


def describe_data(store: str, table: FeatureTable) -> dict[str, Any]:
    """Returns which rows a training reads: store, table, version, its content and the runs in it."""
    files = sorted([file.path, file.rows] for file in table.data_files())
    runs: set[str] = set()
    for batch in iterate(table, ["run_id"]):
        runs.update(pc.unique(batch.column("run_id")).to_pylist())
    return {
        "store": store,
        "table": table.specification.table_name,
        "table_version": table.version,
        "files_sha256": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
        "run_ids": sorted(runs),
    }


def training_digest(data: Mapping[str, Any], *settings: Any) -> str:
    """Returns 16 hexadecimal digits that are the same for equal data, settings (dataclasses) and code.

    Where the store lies does not matter: the names of its files are unique.
    """
    fields = {
        "training_version": TRAINING_VERSION,
        "files": data["files_sha256"],
        "table": data["table"],
        "settings": {type(entry).__name__: dataclasses.asdict(entry) for entry in settings},
    }
    return fields_digest(fields)


def collect_metrics(splits: Splits, fit: Fit, head: Head, temperature: TemperatureFit) -> dict[str, Any]:
    """Returns the fields of metrics.json: ``validation``, ``test`` (null without rows), slices of it and the fit."""
    last = "test" if len(splits.test.targets) else "validation"
    return {
        "validation": measure(head, splits.validation, splits.foreign_labels),
        "test": measure(head, splits.test, splits.foreign_labels),
        "slices": {"split": last, "attributes": measure_slices(head, getattr(splits, last), splits.foreign_labels)},
        "examples": {name: len(getattr(splits, name).targets) for name in ("train", "validation", "test")},
        "held_out": splits.held_out,
        "several_labels": splits.train.several,
        "warnings": list(splits.warnings),
        "temperature_scaling": {
            **dataclasses.asdict(temperature),
            "test_ece_before": calibration_error(dataclasses.replace(head, temperature=1.0), splits.test),
            "test_ece_after": calibration_error(head, splits.test),
        },
        "fit": {
            "validation_loss": fit.validation_loss,
            "epochs": fit.epochs,
            "attempts": [attempt._asdict() for attempt in fit.attempts],
        },
    }


def publish_training(training: Training, model: str, trust_model: bool) -> ModelDirectory:
    """Exports a training and publishes it as the next version, which is returned.

    metrics.json says how far its probabilities are from the batch path's, at most, on the golden images.

    Raises:
      EncoderError: the encoder cannot be loaded.
      ModelError: the place cannot be written.
      SelfTestError: the exported model and the batch path disagree.
    """
    head, specification, golden = training.head, training.source.specification, training.source.golden
    served = export.build_served_model(head, specification, trust_model)
    difference = export.check_served_model(served, head, specification, golden)
    metrics = {**training.metrics, "served_difference": difference}

    def fill(directory: str) -> None:
        export.save_served_model(served, directory, head.labels)
        files = {"head.npz": head.to_bytes(), "labels.txt": export.labels_file(head.labels), **training.files}
        for name, data in files.items():
            with open(os.path.join(directory, name), "wb") as stream:
                stream.write(data)
        for name, path in training.copies.items():
            copy = shutil.copytree if os.path.isdir(path) else shutil.copyfile
            copy(path, os.path.join(directory, name))
        if specification.calibration:
            fetch_calibration(specification, join(training.source.data["store"], training.source.data["table"]))
            publish_calibration(specification, directory)
        np.save(os.path.join(directory, "golden.npy"), golden.astype(np.float32), allow_pickle=False)
        publish.write_json(os.path.join(directory, "metrics.json"), metrics)
        publish.write_json(os.path.join(directory, "config.json"), training.configuration)
        publish.write_json(os.path.join(directory, "run.json"), _run_record(training))

    def seal(directory: str, version: int) -> None:
        name = os.path.basename(model.rstrip("/"))
        fields = _model_fields(training, directory)
        card = model_card(name, version, fields, metrics, training.command)
        page = card_page(f"{name}, version {version}", card, training.files)
        for file, text in (("model_card.md", card), ("model_card.html", page)):
            with open(os.path.join(directory, file), "w", encoding="utf-8") as stream:
                stream.write(text)
        publish.write_json(os.path.join(directory, "model.json"), fields)

    return ModelDirectory.open(join(model, str(publish.publish(model, fill, seal))))


def _run_record(training: Training) -> dict[str, Any]:
    """Returns what run.json says: the command, when, how long, on what machine and with what software."""
    return {
        "command": training.command,
        "started_at": datetime.datetime.fromtimestamp(training.started_at, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - training.started_at, 3),
        "peak_memory_mb": peak_memory_mb(),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "versions": software_versions(),
        "training_digest": training.source.digest,
        "data": training.source.data,
        "examples": training.metrics["examples"],
    }


def _model_fields(training: Training, directory: str) -> dict[str, Any]:
    specification = training.source.specification
    if training.encoder_file:
        specification = dataclasses.replace(specification, source=training.encoder_file)
    sizes = publish.file_sizes(directory)
    return {
        "format": FORMAT,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "training_digest": training.source.digest,
        "encoder": specification.to_json(),
        "encoder_file": training.encoder_file,
        "encoder_fingerprint": specification.fingerprint,
        "head": training.head.to_json(),
        "data": training.source.data,
        "files": {name: size for name, size in sizes.items() if name not in _SEALED},
    }

"""The report of a training: how good the model is, against the one before it, how it came about, what it sees."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.report.advice import advice
from pipelines.report.evaluation import cards, measured
from pipelines.report.page import REPORT, Page, Section, render
from pipelines.report.projection import POINTS
from pipelines.report.sections.checks import checks
from pipelines.report.sections.embedding_map import embedding_map
from pipelines.report.sections.epochs import epochs
from pipelines.report.sections.heat_maps import heat_maps
from pipelines.report.sections.learning_curve import learning_curves
from pipelines.report.sections.network import Shown, network
from pipelines.report.sections.remedies import remedies
from pipelines.report.sections.reproduce import repeat
from pipelines.report.sections.sweep import sweep
from pipelines.report.sections.warnings import warnings
from pipelines.report.trained_rows import Before, Rows
from pipelines.report.verdict import comparison_verdict, percent, verdict, weak_spots
from transforms.errors import HeliographError
from transforms.measures.comparison import Comparison
from transforms.measures.evaluation import Evaluation
from transforms.measures.rows import normalise
from transforms.measures.slices import MeasureOptions
from transforms.model.directory import versions
from transforms.model.head import Head
from transforms.shards.record import software_versions
from transforms.sources.reference import SPLITS
from transforms.store.read import Features
from transforms.store.schema import prediction_schema

MEASURED = 10_000
"""Held-out images that the page measures on at most; metrics.json measures on all."""

SCORES = 1_000_000
"""Probabilities that the page measures at most: with many classes it takes fewer images."""

PICTURES, GALLERY = 60, 12

_SEEN = (
    "A validation image of up to eight classes, and feature maps of the first, at the beginning, in the middle and at "
    "the end. They lie in pictures/ beside this page, too; heliograph models pictures draws other images and layers."
)
_SPLITS = {
    "test": "the test split that it has not seen",
    "validation": "the validation split, which has chosen its settings and temperature: a test split is harder",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A training that is finished but not yet published.

    Attributes:
      model: address of the model's directory, in which versions are made.
      digest: of data, settings and code.
      rows: that it was trained and measured on.
      head: calibrated.
      metrics: of metrics.json.
      files: further files of the model's directory, by name.
      command: that repeats it.
      trust_model: load an encoder that carries code.
      pictures: of what a network sees.
    """

    model: str
    digest: str
    rows: Rows
    head: Head
    metrics: Mapping[str, Any]
    files: Mapping[str, bytes]
    command: str
    trust_model: bool = False
    pictures: Sequence[Shown] = ()


def report_files(trained: Trained) -> dict[str, bytes]:
    """Returns the page by its name; nothing, with a note, when it cannot be made: that never fails a training."""
    try:
        return {REPORT: render(training_page(trained)).encode("utf-8", "replace")}
    except (HeliographError, OSError, pa.ArrowException) as error:
        print(f"heliograph: note: the report could not be made: {error}", file=sys.stderr)
        return {}


def training_page(trained: Trained) -> Page:
    """Measures the head on a bounded sample of held-out images, and returns the page, the same every time."""
    metrics, head = trained.metrics, trained.head
    split = "test" if metrics["test"] else "validation"
    figures = metrics[split]
    held_out = trained.rows.sample(min(MEASURED, max(SCORES // len(head.labels), 1)), split)
    before = trained.rows.before(trained.model, head, held_out)
    found = _measure(head, held_out, before, metrics["several_labels"]) if held_out.image_uris else None
    name, version = trained.model.rstrip("/").rsplit("/", 1)[-1], _next_version(trained.model)
    overall = figures if not metrics["several_labels"] else {**figures, "majority_accuracy": None}
    compared = found["comparison"] if found else None
    return Page(
        run_id=trained.digest,
        title=f"Training: {percent(figures['accuracy'])} right",
        kicker=f"Training of {name}, version {version}, measured on {_SPLITS[split]}",
        verdict=verdict(overall),
        against=[comparison_verdict(compared)] if compared else [],
        findings=weak_spots(found) if found else [],
        advice=advice(found, {}) if found else [],
        cards=cards(found["overall"]) if found else [],
        sections=[
            warnings(_warnings(metrics, len(held_out.image_uris), figures["rows"], split)),
            *(measured(found, GALLERY) if found else []),
            _heat(trained, found) if found else None,
            network(trained.pictures, _SEEN),
            epochs(metrics["fit"].get("history")),
            remedies(metrics.get("remedies")),
            checks(metrics, trained.files),
            learning_curves(metrics.get("learning_curve")),
            sweep(metrics.get("sweep"), trained.files.get("sweep.csv")),
            _map(trained),
            _how(trained, split, before),
        ],
        footer="The figures, without rounding, stand in metrics.json beside this page; model_card.md has its limits.",
    )


def _measure(head: Head, features: Features, before: Before | None, several: bool) -> dict[str, Any]:
    """The fields of metrics.schema.json, with the comparison if there is a version before."""
    options = MeasureOptions(worst=GALLERY, multi_label=several)
    rows = predictions(head, features, "this version")
    evaluation = Evaluation(options)
    evaluation.add(rows)
    compared = None
    if before is not None:
        comparison = Comparison(options)
        comparison.add(rows, predictions(before.head, before.features, before.name))
        compared = comparison.compute("this version", before.name)
    return {**evaluation.compute(), "comparison": compared}


def predictions(head: Head, features: Features, version: str) -> pa.RecordBatch:
    """Returns what a head says of stored features, as normalised rows of predictions.

    Of several labels an image each is said by the head's thresholds, of one the most probable, as in metrics.json.
    """
    probabilities = head.probabilities(features.embeddings)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    names = np.array(head.labels, object)
    columns: dict[str, Any] = {
        "image_id": features.image_ids,
        "image_uri": features.image_uris,
        "displayNames": names[order].tolist(),
        "confidences": np.take_along_axis(probabilities, order, axis=1).tolist(),
        "model_version": [version] * len(order),
        "split": features.splits,
        "labels": [list(labels) for labels in features.labels],
        "attributes": [list(found.items()) for found in features.attributes],
    }
    if head.activation == "sigmoid":
        columns["predicted"] = [names[said].tolist() for said in head.decide(probabilities)]
    schema = pa.schema([prediction_schema().field(name) for name in columns])
    return normalise(pa.RecordBatch.from_pydict(columns, schema=schema))


def _next_version(model: str) -> int:
    return (versions(model) or [0])[-1] + 1


def _warnings(metrics: Mapping[str, Any], measured_on: int, rows: int, split: str) -> list[str]:
    more = []
    if not measured_on:
        more = [f"the {split} images were held out of the training split, so that this page shows none of them"]
    elif measured_on < rows:
        more = [f"this page measures on a sample of {measured_on:,} of {rows:,} {split} images"]
    return [*metrics["warnings"], *more]


def _heat(trained: Trained, found: Mapping[str, Any]) -> Section | None:
    """Heat maps of the worst errors, then of the least confident."""
    images = {image["image_uri"]: image for name in ("worst_errors", "least_confident") for image in found[name]}
    return heat_maps(trained.head, trained.rows.specification, trained.trust_model, list(images.values()))


def _map(trained: Trained) -> Section | None:
    features = trained.rows.sample(POINTS)
    if not features.image_uris:
        return None
    probabilities = trained.head.probabilities(features.embeddings)
    said = [trained.head.labels[best] for best in probabilities.argmax(axis=1)]
    colours = {"label": ["|".join(labels) for labels in features.labels], "split": features.splits}
    if not trained.metrics["several_labels"]:
        right = [
            "not labelled" if not labels else "right" if answer in labels else "wrong"
            for answer, labels in zip(said, features.labels, strict=True)
        ]
        colours |= {"error": right, "prediction": said}
    return embedding_map(features.embeddings, features.image_uris, colours, trained.rows.total, PICTURES)


def _how(trained: Trained, split: str, before: Before | None) -> Section:
    metrics, specification = trained.metrics, trained.rows.specification
    examples = ", ".join(f"{metrics['examples'][name]:,} {name}" for name in SPLITS)
    lines = {
        **trained.rows.describe(),
        "Examples": f"{examples}; measured on {split}",
        "Encoder": f"{specification.name}, fingerprint {specification.fingerprint}",
        "Compared with": before.name if before else "nothing: no version before it takes the same images",
        "Digest": f"{trained.digest} of data, settings and code",
    }
    return repeat("trained", lines, software_versions(), trained.command)

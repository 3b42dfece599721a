"""From listed images to a published model with an encoder of its own: what cnn and finetune share."""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines import inputs
from pipelines.report.sections.network import Shown
from pipelines.report.trained_rows import PixelRows
from pipelines.report.training import Trained, report_files
from pipelines.run_record import configuration_json
from pipelines.training import assemble
from pipelines.training.batches import Batches
from pipelines.training.calibrate import TemperatureFit, calibrate
from pipelines.training.class_weights import class_weights_of
from pipelines.training.classifier import Classifier
from pipelines.training.features import Examples, Splits
from pipelines.training.fit_head import Fit
from pipelines.training.fit_network import Epoch, fit_network
from pipelines.training.measure import measure
from pipelines.training.network_files import EVENTS, PICTURES, draw_examples, write_events, write_pictures
from pipelines.training.network_settings import NetworkSettings
from pipelines.training.pixels import (
    ERRORS_FILE,
    PixelOptions,
    Pixels,
    encode_rows,
    list_references,
    listing_digest,
    read_pixels,
    rows_of,
)
from pipelines.training.summary import tell, training_record
from pipelines.training.target import Target, add_target_arguments, given_target
from pipelines.training.thresholds import (
    ThresholdSettings,
    add_threshold_arguments,
    class_goals,
    decide,
    settings_suffix,
    threshold_settings,
)
from pipelines.training.working_directory import working_directory
from transforms.encoders.encoder import Encoder
from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.encoders.specification import EncoderSpecification, Preprocessing, fields_digest
from transforms.machine.cores import usable_cores
from transforms.measures.evaluation import null_for_nan
from transforms.model.directory import ModelDirectory
from transforms.model.head import Head
from transforms.sources.dialects import Source, roots_of
from transforms.sources.reference import SPLITS, ImageReference
from transforms.sources.split import SplitRatios

NETWORK_VERSION = 2
"""Raised whenever the same images and configuration would give another network."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagesConfiguration(inputs.InputConfiguration, Target):
    """Which images a network is trained on, from which confidences on it answers, and where the model goes."""

    split: str
    max_failures: str
    threads: int | None
    image_timeout: float
    trust_model: bool
    work_dir: str | None
    thresholds: ThresholdSettings


def add_images_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each field of ImagesConfiguration."""
    inputs.add_source_flags(parser)
    add_target_arguments(parser)
    parser.add_argument(
        "--split",
        default="80/10/10",
        metavar="T/V/T",
        help="shares of train, validation and test for images whose input does not say; as embed makes them",
    )
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        help="where decoded pixels and checkpoints lie while it trains (default: in the model's directory)",
    )
    add_threshold_arguments(parser)


def images_configuration(flags: argparse.Namespace) -> ImagesConfiguration:
    """Returns what the flags say.

    Raises:
      UsageError: a value that cannot be.
    """
    SplitRatios.parse(flags.split)
    return ImagesConfiguration(
        **vars(inputs.given_input(flags)),
        **vars(given_target(flags)),
        split=flags.split,
        max_failures=inputs.check_max_failures(flags.max_failures),
        threads=flags.threads,
        image_timeout=flags.image_timeout,
        trust_model=flags.trust_model,
        work_dir=flags.work_dir and os.path.abspath(flags.work_dir),
        thresholds=threshold_settings(flags),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of a training.

    Attributes:
      sources: that were recognised.
      references: of all images, in the order of reading.
    """

    sources: Sequence[Source]
    references: Sequence[ImageReference]


def list_inputs(configuration: ImagesConfiguration) -> Listing:
    """Recognises the inputs and lists their images."""
    sources = configuration.recognise()
    return Listing(sources=sources, references=list_references(sources))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkTraining:
    """A training that is about to begin.

    Attributes:
      images: which images, and where the model goes.
      listing: of them.
      preprocessing: bytes to pixels.
      settings: how it is trained.
      build: makes the classifier, in its initial state, for the splits.
      configuration: the command's; written into the model.
      data: what else of the data the model should say, and what its digest depends on.
      command: that repeats it.
      started_at: seconds since the epoch.
    """

    images: ImagesConfiguration
    listing: Listing
    preprocessing: Preprocessing
    settings: NetworkSettings
    build: Callable[[Splits], Classifier]
    configuration: Any
    data: Mapping[str, Any]
    command: str
    started_at: float = dataclasses.field(default_factory=time.time)

    def describe_data(self) -> dict[str, Any]:
        """Returns which images are read."""
        return {
            "input": list(self.images.input),
            "images": len(self.listing.references),
            "images_sha256": listing_digest(self.listing.references),
            "split": self.images.split,
            **self.data,
        }

    def digest(self, data: Mapping[str, Any]) -> str:
        """Returns 16 hexadecimal digits that are the same for equal data, settings and code: for equal weights."""
        fields = {
            "network_version": NETWORK_VERSION,
            "data": {name: value for name, value in data.items() if name != "input"},
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "configuration": {**configuration_json(self.configuration), "images": None},
        }
        return fields_digest(fields)


def train_network(training: NetworkTraining) -> dict[str, Any]:
    """Trains a network and publishes it, unless equal data and configuration have made it already.

    When no epoch was better than the model that it began with, that one stays and nothing is published.

    Returns:
      As summary.training_record; when nothing was gained, of the model that stays, with this training's ``metrics``.
    """
    started = time.monotonic()
    images = training.images
    data = training.describe_data()
    weights = training.digest(data)
    digest = weights + settings_suffix(images.thresholds)
    ungained: dict[str, Any] = {}

    def make() -> ModelDirectory:
        with working_directory(images.model, images.work_dir, weights) as work:
            trained = _train(training, work)
            images.check_accuracy(trained.metrics)
            if "start" not in data or trained.metrics["fit"]["best_epoch"]:
                return _publish(training, trained, data, digest, work)
        ungained.update(made=False, gained=False, metrics=trained.metrics)
        return ModelDirectory.open(data["start"]["model"])

    model, made = images.reach(digest, make)
    return training_record(model, made, time.monotonic() - started) | ungained


def _train(training: NetworkTraining, work: str) -> _Measured:
    images, settings = training.images, training.settings
    ratios = SplitRatios.parse(images.split)
    pixel_options = PixelOptions(
        preprocessing=training.preprocessing,
        roots=roots_of(training.listing.sources),
        split=ratios,
        max_failures=images.max_failures,
        threads=images.threads or 0,
        timeout_seconds=images.image_timeout,
    )
    pixels = read_pixels(training.listing.references, pixel_options, work)
    splits = pixels.splits(ratios, ", ".join(images.input))
    class_goals(splits.labels, splits.train.several, images.thresholds)
    tell(splits.warnings)
    classifier = training.build(splits)
    history = _fit(classifier, pixels, splits, settings, work, images.threads or usable_cores())
    fitted = _Fitted(classifier=classifier, pixels=pixels, splits=splits, history=history)
    return _take_apart(training, fitted, work)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fitted:
    classifier: Classifier
    pixels: Pixels
    splits: Splits
    history: Sequence[Epoch]

    @property
    def validation(self) -> Examples:
        """Validation images of the classes that the network knows."""
        return self.splits.validation.known(len(self.splits.labels))


def _fit(
    classifier: Classifier, pixels: Pixels, splits: Splits, settings: NetworkSettings, work: str, threads: int
) -> list[Epoch]:
    batches = Batches(
        array=pixels.array, size=settings.batch_size, augment=settings.augment, seed=settings.seed, threads=threads
    )
    weights = class_weights_of(splits.train, splits.labels, settings.class_weights)
    validation = splits.validation.known(len(splits.labels))
    return fit_network(classifier, batches, splits.train, validation, weights, settings, work)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Measured:
    """A network that is taken apart and measured; its encoder lies at ``specification.source``."""

    fitted: _Fitted
    specification: EncoderSpecification
    golden: npt.NDArray[np.float32]
    encoded: Splits
    head: Head
    metrics: dict[str, Any]


def _take_apart(training: NetworkTraining, fitted: _Fitted, work: str) -> _Measured:
    """Takes the network apart into encoder and head, and measures them as any other."""
    images, splits = training.images, fitted.splits
    specification = resolve_encoder(
        fitted.classifier.encoder.save(work),
        resize=training.preprocessing.resize,
        exact_decode=training.preprocessing.exact_decode,
        trust_model=images.trust_model,
    )
    encoder = load_encoder(specification, trust_model=images.trust_model)
    array = fitted.pixels.array
    parts: dict[str, Any] = {name: _encode(encoder, array, getattr(splits, name)) for name in SPLITS}
    encoded = dataclasses.replace(splits, **parts)
    head, temperature = calibrate(fitted.classifier.head(), encoded.validation.known(len(splits.labels)))
    head, decision = decide(head, encoded, images.thresholds)
    tell(decision["warnings"] if decision else ())
    metrics = {**_measure(fitted, encoded, head, temperature), "decision": decision}
    golden = encoder.encode(golden_images(specification))
    return _Measured(
        fitted=fitted, specification=specification, golden=golden, encoded=encoded, head=head, metrics=metrics
    )


def _publish(
    training: NetworkTraining, trained: _Measured, data: dict[str, Any], digest: str, work: str
) -> ModelDirectory:
    """Draws what lies beside the model, and publishes it all."""
    images, fitted, specification = training.images, trained.fitted, trained.specification
    rows = PixelRows(
        specification=specification,
        pixels=fitted.pixels,
        splits=fitted.splits,
        encoded=trained.encoded,
        start=data.get("start", {}).get("model", ""),
        inputs=images.input,
        trust_model=images.trust_model,
    )
    pictures = draw_examples(fitted.classifier, trained.head, fitted.pixels, fitted.validation)
    page = report_files(
        Trained(
            model=images.model,
            digest=digest,
            rows=rows,
            head=trained.head,
            metrics=trained.metrics,
            files={},
            command=training.command,
            trust_model=images.trust_model,
            pictures=pictures,
        )
    )
    file = os.path.basename(specification.source)
    made = assemble.Training(
        source=assemble.Source(specification=specification, golden=trained.golden, data=data, digest=digest),
        head=trained.head,
        metrics=trained.metrics,
        configuration=configuration_json(training.configuration),
        command=training.command,
        started_at=training.started_at,
        files=page,
        encoder_file=file,
        copies={file: specification.source, **_write_files(pictures, fitted.history, work)},
    )
    return assemble.publish_training(made, images.model, images.trust_model)


def _measure(fitted: _Fitted, encoded: Splits, head: Head, temperature: TemperatureFit) -> dict[str, Any]:
    """Returns the fields of metrics.json."""
    history = fitted.history
    best = min(history, key=lambda epoch: epoch.validation_loss)
    if not best.epoch:
        tell(["no epoch was better than what it began with; lower --learning-rate"])
    fit = Fit(head=head, validation_loss=best.validation_loss, epochs=len(history) - 1, attempts=())
    metrics = assemble.collect_metrics(encoded, fit, head, temperature)
    metrics["train"] = measure(head, encoded.train, encoded.foreign_labels)
    metrics["failed"] = fitted.pixels.failures
    metrics["fit"] |= {
        "best_epoch": best.epoch,
        "history": [null_for_nan(dataclasses.asdict(epoch)) for epoch in history],
        "trained_weights": sum(int(np.prod(variable.shape)) for variable in fitted.classifier.trained),
    }
    return metrics


def _write_files(pictures: Sequence[Shown], history: Sequence[Epoch], work: str) -> dict[str, str]:
    """Writes what lies beside the model for people; returns the paths of all such files by their names."""
    write_events(history, os.path.join(work, EVENTS))
    if pictures:
        write_pictures(pictures, os.path.join(work, PICTURES))
    paths = {name: os.path.join(work, name) for name in (EVENTS, PICTURES, ERRORS_FILE)}
    return {name: path for name, path in paths.items() if os.path.exists(path)}


def _encode(encoder: Encoder, array: npt.NDArray[np.uint8], examples: Examples) -> Examples:
    """Puts the vectors of images in place of the numbers of their rows."""
    return dataclasses.replace(examples, vectors=encode_rows(encoder, array, rows_of(examples)))

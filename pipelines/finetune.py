"""``heliograph finetune``: a trained head and its encoder to a model whose encoder is trained as well."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from pipelines import cli, options
from pipelines.run_record import print_record
from pipelines.training.classifier import Classifier, with_head
from pipelines.training.features import Splits
from pipelines.training.network_settings import NetworkSettings, add_network_flags, network_settings
from pipelines.training.networks import open_trainable
from pipelines.training.summary import summarise
from pipelines.training.thresholds import ThresholdSettings
from pipelines.training.train_network import (
    ImagesConfiguration,
    NetworkTraining,
    add_images_flags,
    images_configuration,
    list_inputs,
    train_network,
)
from transforms.errors import ModelError, OptionError
from transforms.files import filesystem
from transforms.model.directory import ModelDirectory

ALL = "all"
DEFAULT = NetworkSettings(learning_rate=0.0003, train_epochs=15, patience=8, ema_epochs=1.0, dropout_rate=0.2)
"""Smaller steps, fewer of them and less dropout than from scratch; the first epochs are seldom better than the head."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfiguration:
    """What ``heliograph finetune`` was asked to do; written into the model."""

    images: ImagesConfiguration
    unfreeze: int | None
    fit: NetworkSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    parser = options.command_parser("finetune", "Train a model's encoder together with its head, and export a model.")
    add_images_flags(parser)
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="the model that `heliograph train` made, MODEL, MODEL/<n> or MODEL@alias (default: the newest version of "
        "--model)",
    )
    parser.add_argument(
        "--unfreeze",
        default=ALL,
        metavar="N|all",
        help="blocks of the encoder that are trained, from the top; 0 trains the head alone",
    )
    add_network_flags(parser, DEFAULT)
    return parser


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    flags = options.parse_without_beam(parser, argv)
    fit, unfreeze = network_settings(flags), _blocks(flags.unfreeze)
    images = images_configuration(flags)
    start = _starting_model(flags.start, images.model)
    flags.start = start.path
    if not start.head.decision.always_first and images.thresholds == ThresholdSettings():
        remark = "its thresholds are not taken over; give --threshold-for or --none-below for new ones"
        print(f"heliograph: note: {start.path}: {remark}", file=sys.stderr)
    listing = list_inputs(images)

    def build(splits: Splits) -> Classifier:
        _check_labels(start, splits)
        encoder = open_trainable(start.encoder, images.trust_model)
        return with_head(encoder, start.head, unfreeze, fit.dropout_rate, fit.seed)

    record = train_network(
        NetworkTraining(
            images=images,
            listing=listing,
            preprocessing=start.encoder.preprocessing,
            settings=fit,
            build=build,
            configuration=FinetuneConfiguration(images=images, unfreeze=unfreeze, fit=fit),
            data={"start": _describe(start)},
            command=options.command_line(parser, flags),
        )
    )
    print_record(record, flags.json, summarise(record))
    return 0


def _blocks(text: str) -> int | None:
    try:
        blocks = None if text == ALL else int(text)
    except ValueError:
        blocks = -1
    if blocks is not None and blocks < 0:
        raise OptionError(f"--unfreeze must be all or a number of blocks such as 3, got {text!r}")
    return blocks


def _starting_model(given: str | None, model: str) -> ModelDirectory:
    """Opens the model to start from; of ``--model`` the newest version that was not fine-tuned itself."""
    opened = ModelDirectory.open(filesystem.absolute(given or model))
    while given is None and "start" in opened.data:
        opened = ModelDirectory.open(opened.data["start"]["model"])
    return opened


def _describe(start: ModelDirectory) -> dict[str, Any]:
    return {
        "model": start.path,
        "head_sha256": start.head.digest,
        "encoder": start.encoder.source,
        "encoder_fingerprint": start.encoder.fingerprint,
    }


def _check_labels(start: ModelDirectory, splits: Splits) -> None:
    """Refuses images of other classes than the head knows.

    Raises:
      ModelError: naming what differs and the remedy.
    """
    more, fewer = sorted(set(splits.labels) - set(start.labels)), sorted(set(start.labels) - set(splits.labels))
    if more or fewer:
        parts = [f"the images have {more[:5]} too"] if more else []
        what = ", and ".join([*parts, f"no training image is of {fewer[:5]}"] if fewer else parts)
        raise ModelError(
            f"{start.path} tells {len(start.labels)} classes apart, and {what}; embed these images and "
            "`heliograph train` on them first, then fine-tune that model"
        )
    if (start.head.activation == "sigmoid") != splits.train.several:
        raise ModelError(f"{start.path} gives {start.head.activation} outputs, which these labels are not for")


if __name__ == "__main__":
    cli.leave(main())

"""``heliograph cnn``: images to a model whose network is trained from scratch."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from pipelines import cli, encoder_flags, options
from pipelines.run_record import print_record
from pipelines.training.classifier import Classifier, with_new_head
from pipelines.training.cnn_settings import CnnSettings, add_cnn_flags, cnn_settings
from pipelines.training.features import Splits
from pipelines.training.network_settings import NetworkSettings, add_network_flags, network_settings
from pipelines.training.networks import build_cnn
from pipelines.training.pixels import usual_size
from pipelines.training.summary import summarise
from pipelines.training.train_network import (
    ImagesConfiguration,
    NetworkTraining,
    add_images_flags,
    images_configuration,
    list_inputs,
    train_network,
)
from transforms.encoders.resolve import RESIZES
from transforms.encoders.specification import Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class CnnConfiguration:
    """What ``heliograph cnn`` was asked to do; written into the model."""

    images: ImagesConfiguration
    preprocessing: Preprocessing
    network: CnnSettings
    fit: NetworkSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    parser = options.command_parser("cnn", "Train a convolutional network from scratch, and export a model.")
    add_images_flags(parser)
    add_cnn_flags(parser)
    add_network_flags(parser, NetworkSettings())
    parser.add_argument(
        "--image-size",
        metavar="N|HxW",
        help="of the network's input (default: that of the images, at most 224 a side)",
    )
    parser.add_argument("--resize", choices=RESIZES, default=RESIZES[0], help="resize method")
    parser.add_argument(
        "--exact-decode", action="store_true", help="decode large JPEGs fully, not scaled to twice the input size"
    )
    return parser


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    flags = options.parse_without_beam(parser, argv)
    network, fit = cnn_settings(flags), network_settings(flags)
    images = images_configuration(flags)
    given = encoder_flags.image_size(flags.image_size)
    listing = list_inputs(images)
    height, width = given or (usual_size(listing.sources, listing.references),) * 2
    network.modules(height, width)
    size = Preprocessing(height=height, width=width, resize=flags.resize, exact_decode=flags.exact_decode)
    configuration = CnnConfiguration(images=images, preprocessing=size, network=network, fit=fit)

    def build(splits: Splits) -> Classifier:
        encoder = build_cnn(height, width, network, fit.dropout_rate, fit.seed)
        activation = "sigmoid" if splits.train.several else "softmax"
        return with_new_head(encoder, splits.labels, activation, fit.dropout_rate, fit.seed)

    record = train_network(
        NetworkTraining(
            images=images,
            listing=listing,
            preprocessing=size,
            settings=fit,
            build=build,
            configuration=configuration,
            data={},
            command=options.command_line(parser, flags),
        )
    )
    print_record(record, flags.json, summarise(record))
    return 0


if __name__ == "__main__":
    cli.leave(main())

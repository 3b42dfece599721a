"""``heliograph train``: stored features to a model."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import shlex
import time
from collections.abc import Sequence
from typing import Any

from pipelines import cli, options
from pipelines.report.trained_rows import TableRows
from pipelines.report.training import Trained, report_files
from pipelines.run_record import configuration_json, print_record
from pipelines.training import assemble, outcome
from pipelines.training.checks import CheckSettings, add_check_arguments, check_arguments, check_settings
from pipelines.training.fit_settings import FitSettings, add_fit_flags, fit_arguments, fit_settings
from pipelines.training.lab import LabSettings, add_lab_flags, lab_arguments, lab_settings
from pipelines.training.remedy_settings import (
    RemedySettings,
    add_remedy_arguments,
    remedy_arguments,
    remedy_settings,
)
from pipelines.training.stream import StreamSettings, add_stream_flags, stream_arguments
from pipelines.training.summary import summarise, training_record
from pipelines.training.target import Target, add_target_arguments, given_target
from transforms.files import filesystem
from transforms.model.directory import ModelDirectory
from transforms.store.catalog import open_table
from transforms.store.table import FeatureTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfiguration(Target):
    """What ``heliograph train`` was asked to do; written into the model."""

    store: str
    version: int | datetime.datetime | None
    encoder_table: str | None
    fit: FitSettings
    stream: StreamSettings
    lab: LabSettings
    checks: CheckSettings
    remedies: RemedySettings
    trust_model: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    parser = options.command_parser("train", "Fit a softmax head on stored features, and export a model.")
    parser.add_argument("--store", required=True, help="that `heliograph embed` made")
    add_target_arguments(parser)
    options.add_version_flag(parser)
    parser.add_argument("--encoder-table", metavar="NAME", help="table to train on, when the store has several")
    add_fit_flags(parser)
    add_lab_flags(parser)
    add_check_arguments(parser)
    add_remedy_arguments(parser)
    add_stream_flags(parser)
    parser.add_argument("--trust-model", action="store_true", help="load an encoder that carries code")
    return parser


def _run(argv: Sequence[str] | None) -> int:
    flags = options.parse_without_beam(_parser(), argv)
    fit = fit_settings(flags)
    lab = lab_settings(flags, fit)
    configuration = TrainConfiguration(
        **vars(given_target(flags)),
        store=filesystem.absolute(flags.store),
        version=flags.version,
        encoder_table=flags.encoder_table,
        fit=fit,
        lab=lab,
        checks=check_settings(flags),
        remedies=remedy_settings(flags, fit, lab),
        stream=StreamSettings(memory_limit=flags.memory_limit),
        trust_model=flags.trust_model,
    )
    record = train(configuration)
    print_record(record, flags.json, summarise(record))
    return 0


def train(configuration: TrainConfiguration) -> dict[str, Any]:
    """Trains a model and publishes it, unless equal data and configuration have made it already.

    Returns:
      As summary.training_record.
    """
    started = time.monotonic()
    table = open_table(configuration.store, configuration.encoder_table, configuration.version)
    data = assemble.describe_data(configuration.store, table)
    settings = (configuration.fit, configuration.lab, configuration.checks, configuration.remedies)
    digest = assemble.training_digest(data, *settings)
    if configuration.stream.is_beyond(table):
        digest += "-streamed"

    def make() -> ModelDirectory:
        training = _fit(configuration, table, data, digest)
        return assemble.publish_training(training, configuration.model, configuration.trust_model)

    model, made = configuration.reach(digest, make)
    return training_record(model, made, time.monotonic() - started)


def _fit(
    configuration: TrainConfiguration, table: FeatureTable, data: dict[str, Any], digest: str
) -> assemble.Training:
    started_at = time.time()
    make = outcome.from_stream if configuration.stream.is_beyond(table) else outcome.from_memory
    found = make(table, configuration.fit, configuration.lab, configuration.checks, configuration.remedies)
    configuration.check_accuracy(found.metrics)
    command = _command(configuration, table.version)
    place, trust = configuration.model, configuration.trust_model
    rows = TableRows(table=table, held_out=bool(found.metrics["held_out"]))
    page = report_files(
        Trained(model=place, digest=digest, rows=rows, command=command, trust_model=trust, **vars(found))
    )
    return assemble.Training(
        source=assemble.Source(specification=table.specification, golden=table.golden, data=data, digest=digest),
        head=found.head,
        metrics=found.metrics,
        configuration=configuration_json(configuration),
        command=command,
        started_at=started_at,
        files={**found.files, **page},
    )


def _command(configuration: TrainConfiguration, version: int) -> str:
    """The command that repeats a training on the same version of the table."""
    flags = {"--store": configuration.store, "--model": configuration.model, "--version": version}
    if configuration.encoder_table:
        flags["--encoder-table"] = configuration.encoder_table
    words = [word for flag, value in flags.items() for word in (flag, str(value))]
    words += [
        *fit_arguments(configuration.fit),
        *lab_arguments(configuration.lab),
        *stream_arguments(configuration.stream),
        *check_arguments(configuration.checks),
        *remedy_arguments(configuration.remedies),
    ]
    return shlex.join(["heliograph", "train", *words])


if __name__ == "__main__":
    cli.leave(main())

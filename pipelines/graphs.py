"""The graphs of embed and score, assembled and run: list → plan → work → commit."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam

from pipelines import runner
from pipelines.inputs import InputConfiguration, recorded_input
from pipelines.progress import ProgressLine
from pipelines.run_record import configuration_json, read_run_record
from pipelines.view_flags import views_of
from pipelines.workers import settle_workers
from transforms.commit_parts import (
    CommitOptions,
    CommitParts,
    check_failures,
    commit_features,
    commit_predictions,
    run_record_address,
)
from transforms.embed_shards import EmbedShards
from transforms.encoders.calibration import fetch_calibration, publish_calibration
from transforms.encoders.engines import where_installed
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import TooManyFailuresError
from transforms.files.filesystem import join
from transforms.files.runs import remove_directory
from transforms.images.augment import NO_VIEWS
from transforms.index_contents import IndexContents
from transforms.list_images import ListImages
from transforms.model.directory import ModelDirectory
from transforms.plan_shards import AnnouncePlan, PlanShards, images_of
from transforms.score_shards import ScoreShards, stored_images, stored_shards
from transforms.shards.embedder import EmbedOptions
from transforms.shards.predictor import ScoreOptions
from transforms.shards.workspace import Workspace
from transforms.sources.dialects import Source, roots_of
from transforms.sources.split import SplitRatios
from transforms.store.catalog import table_path
from transforms.store.table import FeatureTable


class Outcome(NamedTuple):
    """How a run ended that published.

    Attributes:
      counters: Beam's, by name, as far as the runner tells them.
      too_many: the error of a run that published and still failed.
    """

    counters: dict[str, int]
    too_many: TooManyFailuresError | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedConfiguration(InputConfiguration):
    """What ``heliograph embed`` was asked to do; written into the run record."""

    store: str
    encoder: str
    split: str
    max_failures: str
    shard_size: int
    batch_size: int
    threads: int | None
    image_timeout: float
    run_id: str
    sync: bool
    trust_model: bool
    views: int | None = None
    augment: str | None = None
    encoder_device: str = "auto"
    price_per_core_hour: float | None = None
    accelerator: str | None = None

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> EmbedConfiguration:
        """Reads what a run record holds."""
        return cls(**recorded_input(fields))

    def graph(self, sources: Sequence[Source], specification: EncoderSpecification, started_at: float) -> EmbedGraph:
        """Returns the graph that does it; the version of the table is the newest at this moment."""
        path = table_path(self.store, specification)
        table = FeatureTable.open(path) if FeatureTable.exists(path) else None
        embed = EmbedOptions(
            table=path,
            version=table.version if table else None,
            specification=specification,
            run_id=self.run_id,
            roots=roots_of(sources),
            split=SplitRatios.parse(self.split),
            views=views_of(self.views, self.augment, table.views if table else NO_VIEWS),
            batch_size=self.batch_size,
            threads=self.threads or 0,
            timeout_seconds=self.image_timeout,
            trust_model=self.trust_model,
            device=self.encoder_device,
        )
        commit = _commit_options(self, started_at)
        return EmbedGraph(
            sources=sources,
            embed=embed,
            commit=commit,
            shard_size=self.shard_size,
            accelerator=self.accelerator,
            sync=self.sync,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedGraph:
    """Images to features.

    Attributes:
      sources: what is listed.
      embed: how it is embedded.
      commit: how it is published.
      shard_size: images a shard, about.
      accelerator: that workers need, as Beam's hint has it.
      sync: take out the rows of images that are not listed any more.
      only: image ids to which the listing is narrowed; None for all.
    """

    sources: Sequence[Source]
    embed: EmbedOptions
    commit: CommitOptions
    shard_size: int
    accelerator: str | None = None
    sync: bool = False
    only: frozenset[str] | None = None

    def run(self, beam_args: Sequence[str]) -> Outcome:
        """Runs it."""
        self._provide_network()
        record = run_record_address(self.embed.table, self.embed.run_id)
        return _run(self._build, "embedding", Workspace(root=self.embed.table), self.commit, beam_args, record)

    def submit(self, beam_args: Sequence[str]) -> str:
        """Hands it to Dataflow, where it publishes by itself; returns the job's id."""
        self._provide_network()
        return _submit(self._build, Workspace(root=self.embed.table), self.embed.run_id, beam_args)

    def _provide_network(self) -> None:
        """Puts an int8 network below the table, where workers elsewhere look for it."""
        if self.embed.specification.calibration:
            fetch_calibration(self.embed.specification, self.embed.table)
            publish_calibration(self.embed.specification, self.embed.table)

    def plan(self, directory: str) -> PlanShards:
        """Returns the step that plans the run; ``directory`` is for its files."""
        embed = self.embed
        views = f" views {embed.views.count} {embed.views.key}" if embed.views.count else ""
        return PlanShards(
            purpose=f"embed {embed.specification.fingerprint} {'/'.join(map(str, embed.split))}{views}",
            directory=directory,
            shard_size=self.shard_size,
            scopes=() if self.only is not None else tuple(source.scope for source in self.sources),
            table=embed.table,
            version=embed.version,
            split=embed.split,
            views=embed.views,
        )

    def _build(self, pipeline: beam.Pipeline, workspace: Workspace, directory: str) -> None:
        embed = self.embed
        listed = pipeline | beam.Create(list(self.sources)) | ListImages(only=self.only)
        shards, planned, gone = listed | self.plan(directory)
        announced = shards | AnnouncePlan(workspace=workspace, run_id=embed.run_id, count=images_of)
        contents = pipeline | IndexContents(table=embed.table, version=embed.version, directory=directory)
        workers = settle_workers(
            pipeline.options,
            embed.specification,
            beside=embed.table,
            trust_model=embed.trust_model,
            accelerator=self.accelerator,
            device=embed.device,
        )
        options = dataclasses.replace(embed, processes=workers.processes)
        results = announced | EmbedShards(options=options, contents=contents, hints=workers.hints)
        if not self.sync:
            gone = pipeline | "GoneStay" >> beam.Create([], reshuffle=False)
        _ = (results, planned, gone) | CommitParts(
            publish=functools.partial(commit_features, embed=embed, options=self.commit), plan_directory=directory
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreConfiguration(InputConfiguration):
    """What ``heliograph score`` was asked to do; written into the run record."""

    store: str | None
    version: int | None
    model: str
    output: str
    max_failures: str
    shard_size: int
    run_id: str
    score: ScoreOptions
    price_per_core_hour: float | None = None
    accelerator: str | None = None

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ScoreConfiguration:
        """Reads what a run record holds."""
        score = fields["score"]
        lists = {name: tuple(score[name]) for name in ("roots", "formats")}
        return cls(**{**recorded_input(fields), "score": ScoreOptions(**{**score, **lists})})

    def graph(
        self, sources: Sequence[Source], model: ModelDirectory, table: FeatureTable | None, started_at: float
    ) -> ScoreGraph:
        """Returns the graph that does it."""
        return ScoreGraph(
            sources=sources,
            table=table,
            model=model,
            score=self.score,
            commit=_commit_options(self, started_at),
            shard_size=self.shard_size,
            accelerator=self.accelerator,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreGraph:
    """Images, or stored features, to predictions.

    Attributes:
      sources: what is listed; none when stored features are scored.
      table: of stored features; None when images are scored.
      model: that scores.
      score: how it is scored.
      commit: how it is published.
      shard_size: images a shard, about.
      accelerator: that workers need, as Beam's hint has it.
    """

    sources: Sequence[Source]
    table: FeatureTable | None
    model: ModelDirectory
    score: ScoreOptions
    commit: CommitOptions
    shard_size: int
    accelerator: str | None = None

    def run(self, beam_args: Sequence[str]) -> Outcome:
        """Runs it."""
        record = join(self.score.output, "run.json")
        return _run(self._build, "scoring", Workspace(root=self.score.output), self.commit, beam_args, record)

    def submit(self, beam_args: Sequence[str]) -> str:
        """Hands it to Dataflow, where it publishes by itself; returns the job's id."""
        return _submit(self._build, Workspace(root=self.score.output), self.score.run_id, beam_args)

    def _build(self, pipeline: beam.Pipeline, workspace: Workspace, directory: str) -> None:
        score = self.score
        purpose = f"score {self.model.identifier} {score.purpose}"
        if self.table is None:
            listed = pipeline | beam.Create(list(self.sources)) | ListImages()
            shards, planned, _ = listed | PlanShards(purpose=purpose, directory=directory, shard_size=self.shard_size)
        else:
            files = stored_shards(self.table, purpose)
            shards = pipeline | "StoredShards" >> beam.Create(files)
            planned = pipeline | "Planned" >> beam.Create([("listed", sum(map(stored_images, files)))])
        count = images_of if self.table is None else stored_images
        announced = shards | AnnouncePlan(workspace=workspace, run_id=score.run_id, count=count)
        workers = settle_workers(
            pipeline.options,
            where_installed(self.model.encoder) if self.table is None else None,
            beside=self.model.path,
            trust_model=score.trust_model,
            accelerator=self.accelerator,
            device=score.device,
        )
        options = dataclasses.replace(score, processes=workers.processes)
        results = announced | ScoreShards(options=options, hints=workers.hints)
        nobody = pipeline | "Nobody" >> beam.Create([], reshuffle=False)
        _ = (results, planned, nobody) | CommitParts(
            publish=functools.partial(
                commit_predictions, output=score.output, model=self.model.provenance(), options=self.commit
            ),
            plan_directory=directory,
        )


def _commit_options(configuration: EmbedConfiguration | ScoreConfiguration, started_at: float) -> CommitOptions:
    return CommitOptions(
        run_id=configuration.run_id,
        started_at=started_at,
        max_failures=configuration.max_failures,
        configuration=configuration_json(configuration),
        price_per_core_hour=configuration.price_per_core_hour,
    )


def _run(
    build: Callable[[beam.Pipeline, Workspace, str], None],
    doing: str,
    workspace: Workspace,
    commit: CommitOptions,
    beam_args: Sequence[str],
    record: str,
) -> Outcome:
    directory = workspace.plan_directory(commit.run_id)
    progress = ProgressLine(doing, workspace, commit.run_id)
    try:
        return Outcome(
            runner.run_pipeline(lambda pipeline: build(pipeline, workspace, directory), beam_args, progress.update)
        )
    except TooManyFailuresError as error:
        return Outcome({}, error)
    except KeyboardInterrupt:
        if (outcome := _published(record, commit)) is None:
            raise KeyboardInterrupt(progress.interrupted()) from None
        return outcome
    finally:
        progress.end()
        remove_directory(directory)  # what the commit leaves when it never came


def _published(address: str, commit: CommitOptions) -> Outcome | None:
    """Returns how a run ended by its record, the last thing that it publishes; None when that is not there."""
    try:
        record = read_run_record(address)
        if record["started_at"] != datetime.datetime.fromtimestamp(commit.started_at, datetime.UTC).isoformat():
            return None  # of an earlier run
        check_failures(record, commit.max_failures, "embedded" if "embedded" in record else "scored")
    except OSError:
        return None
    except TooManyFailuresError as error:
        return Outcome({}, error)
    return Outcome({})


def _submit(
    build: Callable[[beam.Pipeline, Workspace, str], None],
    workspace: Workspace,
    run_id: str,
    beam_args: Sequence[str],
) -> str:
    directory = workspace.plan_directory(run_id)
    return runner.submit_pipeline(lambda pipeline: build(pipeline, workspace, directory), beam_args)

"""The graphs of embed and score, assembled and run: list → plan → work → commit."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import apache_beam as beam

from pipelines import runner
from pipelines.progress import ProgressLine
from transforms.commit_parts import CommitOptions, CommitParts, commit_features, commit_predictions
from transforms.embed_shards import EmbedShards
from transforms.errors import TooManyFailuresError
from transforms.list_images import ListImages
from transforms.model.directory import ModelDirectory
from transforms.plan_shards import AnnouncePlan, PlanShards, images_of
from transforms.score_shards import ScoreShards, rows_of, stored_shards
from transforms.shards.embedder import EmbedOptions
from transforms.shards.predictor import ScoreOptions
from transforms.shards.workspace import Workspace
from transforms.sources.dialects import Source
from transforms.store.table import FeatureTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedGraph:
    """Images to features.

    Attributes:
      sources: what is listed.
      embed: how it is embedded.
      commit: how it is published.
      shard_size: images a shard, about.
    """

    sources: Sequence[Source]
    embed: EmbedOptions
    commit: CommitOptions
    shard_size: int

    def run(self, beam_args: Sequence[str]) -> TooManyFailuresError | None:
        """Runs it; returns the error of a run that published and still failed."""
        workspace = Workspace(root=self.embed.table)
        return _run(self._build, ProgressLine("embedding", workspace, self.embed.run_id), beam_args)

    def plan(self) -> PlanShards:
        """Returns the step that plans the run."""
        embed = self.embed
        return PlanShards(
            purpose=f"embed {embed.specification.fingerprint} {'/'.join(map(str, embed.split))}",
            shard_size=self.shard_size,
            roots=embed.roots,
            table=embed.table,
            version=embed.version,
            split=embed.split,
        )

    def _build(self, pipeline: beam.Pipeline) -> None:
        listed = pipeline | beam.Create(list(self.sources)) | ListImages()
        shards, planned = listed | self.plan()
        workspace = Workspace(root=self.embed.table)
        announced = shards | AnnouncePlan(workspace=workspace, run_id=self.embed.run_id, count=images_of)
        results = announced | EmbedShards(options=self.embed)
        _ = (results, planned) | CommitParts(
            publish=functools.partial(commit_features, embed=self.embed, options=self.commit)
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
    """

    sources: Sequence[Source]
    table: FeatureTable | None
    model: ModelDirectory
    score: ScoreOptions
    commit: CommitOptions
    shard_size: int

    def run(self, beam_args: Sequence[str]) -> TooManyFailuresError | None:
        """Runs it; returns the error of a run that published and still failed."""
        workspace = Workspace(root=self.score.output)
        return _run(self._build, ProgressLine("scoring", workspace, self.score.run_id), beam_args)

    def _build(self, pipeline: beam.Pipeline) -> None:
        score = self.score
        purpose = f"score {self.model.identifier} top {score.top_k} {','.join(sorted(score.formats))}"
        if self.table is None:
            listed = pipeline | beam.Create(list(self.sources)) | ListImages()
            shards, planned = listed | PlanShards(purpose=purpose, shard_size=self.shard_size)
        else:
            files = stored_shards(self.table, purpose)
            shards = pipeline | "StoredShards" >> beam.Create(files)
            planned = pipeline | "Planned" >> beam.Create([("listed", sum(map(rows_of, files)))])
        count = images_of if self.table is None else rows_of
        announced = shards | AnnouncePlan(workspace=Workspace(root=score.output), run_id=score.run_id, count=count)
        results = announced | ScoreShards(options=score)
        _ = (results, planned) | CommitParts(
            publish=functools.partial(
                commit_predictions, output=score.output, model=self.model.provenance(), options=self.commit
            )
        )


def _run(build: runner.Build, progress: ProgressLine, beam_args: Sequence[str]) -> TooManyFailuresError | None:
    try:
        runner.run_pipeline(build, beam_args, progress.update)
    except TooManyFailuresError as error:
        return error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(progress.interrupted()) from None
    finally:
        progress.end()
    return None

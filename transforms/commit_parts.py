"""Commit: one step publishes the parts of a run, inside the graph, so that a launcher may leave."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from pyarrow import fs

from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder
from transforms.errors import TooManyFailuresError
from transforms.files.filesystem import join, open_filesystem, read_bytes, write_atomically
from transforms.shards.embedder import EmbedOptions
from transforms.shards.record import allowed_failures, summarise
from transforms.shards.shard import ShardResult
from transforms.shards.workspace import Workspace
from transforms.store.dead_letters import publish_dead_letters
from transforms.store.table import FeatureTable, Part

RUNS_DIRECTORY = "_runs"
PREDICTION_SUFFIXES = {"parquet": "parquet", "jsonl": "jsonl", "csv": "csv", "errors": "parquet"}
"""Kind of a shard's file to the ending of its published name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommitOptions:
    """What a commit must know; plain data.

    Attributes:
      run_id: of the run.
      started_at: seconds since the epoch.
      max_failures: as ``--max-failures`` has it.
      configuration: of the command, for the run record.
    """

    run_id: str
    started_at: float
    max_failures: str
    configuration: Mapping[str, Any]


def run_record_address(table: str, run_id: str) -> str:
    """Returns where the record of an embed run is."""
    return join(table, RUNS_DIRECTORY, f"{run_id}.json")


def commit_features(
    results: Sequence[ShardResult], planned: Mapping[str, int], embed: EmbedOptions, options: CommitOptions
) -> dict[str, Any]:
    """Publishes the parts in one commit of the table, then the dead letters and the run record.

    Done twice, it changes nothing.

    Returns:
      The run record.

    Raises:
      CommitError: a part is missing or cut short, or the counts do not add up; nothing is published.
      TooManyFailuresError: after publishing, when there are more dead letters than allowed.
    """
    record = summarise(results, planned, options.run_id, options.started_at, "embedded")
    if not FeatureTable.exists(embed.table):
        encoder = load_encoder(embed.specification, trust_model=embed.trust_model)
        golden = encoder.encode(golden_images(embed.specification))
        FeatureTable.create(embed.table, embed.specification, golden)
    table = FeatureTable.open(embed.table)
    parts = [Part(path=r.files["data"], rows=r.rows, size=r.size) for r in results if "data" in r.files]
    replaced = sorted({image_id for result in results for image_id in result.replaced_ids})
    counts = {name: str(record[name]) for name in ("listed", "embedded", "reused", "failed")}
    version = table.version
    if parts:
        committed = table.append(options.run_id, parts, replaced, counts, base_version=embed.version)
        version = committed.version
    letters = {result.name: result.files["errors"] for result in results if "errors" in result.files}
    publish_dead_letters(embed.table, options.run_id, letters, [part.path for part in parts])
    record |= {
        "table": embed.table,
        "table_version": version,
        "encoder": embed.specification.name,
        "encoder_fingerprint": embed.specification.fingerprint,
        "configuration": dict(options.configuration),
    }
    write_run_record(run_record_address(embed.table, options.run_id), record)
    workspace = Workspace(root=embed.table)
    workspace.forget(result.name for result in results)
    workspace.clear_progress(options.run_id)
    check_failures(record, options.max_failures, "embedded")
    return record


def commit_predictions(
    results: Sequence[ShardResult],
    planned: Mapping[str, int],
    output: str,
    model: Mapping[str, Any],
    options: CommitOptions,
) -> dict[str, Any]:
    """Gives the parts their final names, writes the run record that lists them, removes what it replaces.

    Raises:
      CommitError, TooManyFailuresError: as commit_features.
    """
    record = summarise(results, planned, options.run_id, options.started_at, "scored")
    workspace = Workspace(root=output)
    files: list[str] = []
    for result in results:
        final = {kind: _prediction_name(kind, result.name) for kind in result.files}
        publish_files(output, {file: final[kind] for kind, file in result.files.items()})
        workspace.finish(dataclasses.replace(result, files=final, resumed=False))
        files += final.values()
    address = join(output, "run.json")
    previous = _previous_shards(address)
    shards = sorted(result.name for result in results)
    record |= {
        "files": sorted(files),
        "shards": shards,
        "model": dict(model),
        "configuration": dict(options.configuration),
    }
    write_run_record(address, record)
    gone = previous - set(shards)
    remove_files(output, [_prediction_name(kind, shard) for shard in gone for kind in PREDICTION_SUFFIXES])
    workspace.forget(gone)
    workspace.clear_progress(options.run_id)
    check_failures(record, options.max_failures, "scored")
    return record


def publish_files(root: str, moves: Mapping[str, str]) -> None:
    """Renames files below ``root``; one that is moved already is left alone.

    Raises:
      FileNotFoundError: a file is in neither place.
    """
    filesystem, base = open_filesystem(root)
    for source, target in moves.items():
        if source == target:
            continue
        if filesystem.get_file_info(join(base, source)).type == fs.FileType.File:
            filesystem.create_dir(join(base, target).rsplit("/", 1)[0], recursive=True)
            filesystem.move(join(base, source), join(base, target))
        elif filesystem.get_file_info(join(base, target)).type != fs.FileType.File:
            raise FileNotFoundError(f"{join(root, source)} is gone before it was published")


def remove_files(root: str, files: Iterable[str]) -> None:
    """Removes files below ``root`` that a newer run replaces."""
    filesystem, base = open_filesystem(root)
    for file in files:
        if filesystem.get_file_info(join(base, file)).type == fs.FileType.File:
            filesystem.delete_file(join(base, file))


def write_run_record(address: str, record: Mapping[str, Any]) -> None:
    """Writes a run record, whole or not at all."""
    filesystem, path = open_filesystem(address)
    write_atomically(filesystem, path, json.dumps(record, indent=2).encode())


def check_failures(record: Mapping[str, Any], max_failures: str, verb: str) -> None:
    """Raises TooManyFailuresError when a finished run has more dead letters than allowed."""
    if record["failed"] > allowed_failures(max_failures, record["listed"]):
        raise TooManyFailuresError(
            f"{record['failed']} of {record['listed']} images failed, more than --max-failures {max_failures} allows "
            f"({record['failures']}); the others are {verb} and published. For example {record['failure_example']}"
        )


@dataclasses.dataclass(kw_only=True)
class CommitFeatures(beam.PTransform):
    """Shard results and plan counts to the run record as JSON, with the table's commit on the way."""

    embed: EmbedOptions
    options: CommitOptions

    def expand(self, collections: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """Maps commit_features over one element, after all shards."""
        results, planned = collections
        return (
            results.pipeline
            | "Once" >> beam.Create([None])
            | "Commit" >> beam.FlatMap(self._commit, beam.pvalue.AsIter(results), beam.pvalue.AsDict(planned))
        )

    def _commit(self, _: None, results: Iterable[str], planned: Mapping[str, int]) -> Iterator[str]:
        parsed = [ShardResult.from_json(result) for result in results]
        yield json.dumps(commit_features(parsed, planned, self.embed, self.options))


@dataclasses.dataclass(kw_only=True)
class CommitPredictions(beam.PTransform):
    """Shard results and plan counts to the run record as JSON, with the files' publication on the way."""

    output: str
    model: Mapping[str, Any]
    options: CommitOptions

    def expand(self, collections: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """Maps commit_predictions over one element, after all shards."""
        results, planned = collections
        return (
            results.pipeline
            | "Once" >> beam.Create([None])
            | "Commit" >> beam.FlatMap(self._commit, beam.pvalue.AsIter(results), beam.pvalue.AsDict(planned))
        )

    def _commit(self, _: None, results: Iterable[str], planned: Mapping[str, int]) -> Iterator[str]:
        parsed = [ShardResult.from_json(result) for result in results]
        yield json.dumps(commit_predictions(parsed, planned, self.output, self.model, self.options))


def _prediction_name(kind: str, shard: str) -> str:
    return f"{'errors' if kind == 'errors' else 'predictions'}_{shard}.{PREDICTION_SUFFIXES[kind]}"


def _previous_shards(address: str) -> set[str]:
    """Returns the shards that an older run record names; only what can be a shard's name is believed."""
    filesystem, path = open_filesystem(address)
    try:
        names = json.loads(read_bytes(filesystem, path)).get("shards", ())
    except (FileNotFoundError, ValueError, AttributeError):
        return set()
    return {name for name in names if isinstance(name, str) and re.fullmatch(r"[0-9a-f]{24}", name)}

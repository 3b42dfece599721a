"""Commit: one step publishes the parts of a run, inside the graph, so that a launcher may leave."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from pyarrow import fs

from transforms.encoders.calibration import calibration_facts, fetch_calibration
from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder
from transforms.errors import CommitError, PartError, TooManyFailuresError
from transforms.files.filesystem import join, open_filesystem, remove_file, write_atomically
from transforms.files.runs import remove_directory
from transforms.files.threads import map_in_threads
from transforms.measures.remarks import plural
from transforms.shards.comparison import compare_stored
from transforms.shards.embedder import EmbedOptions
from transforms.shards.record import allowed_failures, cost_of_work, peak_memory_mb, summarise
from transforms.shards.shard import ShardResult
from transforms.shards.workspace import Workspace
from transforms.store.dead_letters import publish_dead_letters
from transforms.store.table import FeatureTable, Part

RUNS_DIRECTORY = "_runs"
PREDICTION_SUFFIXES = {"parquet": "parquet", "jsonl": "jsonl", "csv": "csv", "errors": "parquet"}
"""Kind of a shard's file to the ending of its published name."""
_PUBLISHED = re.compile(r"(?:predictions|errors)_([0-9a-f]{24})\.(?:parquet|jsonl|csv)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommitOptions:
    """What a commit must know; plain data.

    Attributes:
      run_id: of the run.
      started_at: seconds since the epoch.
      max_failures: as ``--max-failures`` has it.
      configuration: of the command, for the run record.
      price_per_core_hour: for the run record; None for no cost.
    """

    run_id: str
    started_at: float
    max_failures: str
    configuration: Mapping[str, Any]
    price_per_core_hour: float | None = None

    def summarise(self, results: Sequence[ShardResult], planned: Mapping[str, int], verb: str) -> dict[str, Any]:
        """Returns the run record's beginning: what was done (see record.summarise), and what that cost."""
        record = summarise(results, planned, self.run_id, self.started_at, verb)
        core_seconds = sum(result.core_seconds for result in results if not result.resumed)
        return record | cost_of_work(core_seconds, record[verb] - record["resumed"], self.price_per_core_hour)


def run_record_address(table: str, run_id: str) -> str:
    """Returns where the record of an embed run is."""
    return join(table, RUNS_DIRECTORY, f"{run_id}.json")


def commit_features(
    results: Sequence[ShardResult],
    planned: Mapping[str, int],
    gone: Mapping[str, int],
    embed: EmbedOptions,
    options: CommitOptions,
) -> dict[str, Any]:
    """Publishes the parts in one commit of the table, then the dead letters and the run record.

    Done twice, it changes nothing. Memory grows with the shards, not with the images.

    Args:
      gone: addresses of files with the ids of images to take out, below the table, and how many ids.

    Returns:
      The run record.

    Raises:
      CommitError: a part is missing or cut short, or the counts do not add up; nothing is published.
      TooManyFailuresError: after publishing, when there are more dead letters than allowed.
    """
    record = options.summarise(results, planned, "embedded")
    if not FeatureTable.exists(embed.table):
        encoder = load_encoder(embed.specification, trust_model=embed.trust_model, beside=embed.table)
        golden = encoder.encode(golden_images(embed.specification))
        FeatureTable.create(embed.table, embed.specification, golden)
    FeatureTable.open(embed.table).keep_views(embed.views)
    table = FeatureTable.open(embed.table)
    parts = [Part(path=r.files["data"], rows=r.rows, size=r.sizes["data"]) for r in results if "data" in r.files]
    replaced = [result.files["data"] for result in results if result.replaced and "data" in result.files]
    replaced += [address.removeprefix(f"{embed.table.rstrip('/')}/") for address in sorted(gone)]
    counts = {name: str(record[name]) for name in ("listed", "embedded", "reused", "failed")}
    version = table.version
    if parts or replaced:
        with _made_again(embed.table, results):
            committed = table.append(
                options.run_id, parts, metadata=counts, base_version=embed.version, replaced_in=replaced
            )
        version = committed.version
        if committed.already:
            _check_published(table, version, parts, options.run_id)
    letters = {result.name: result.files["errors"] for result in results if "errors" in result.files}
    publish_dead_letters(embed.table, options.run_id, letters, [part.path for part in parts])
    record |= {
        "table": embed.table,
        "table_version": version,
        "retracted": sum(gone.values()),
        "views": _describe_views(embed, results),
        "configuration": dict(options.configuration),
        **_describe_encoder(embed, parts, record),
    }
    write_run_record(run_record_address(embed.table, options.run_id), record)
    workspace = Workspace(root=embed.table)
    workspace.forget(result.name for result in results)
    workspace.clear_progress(options.run_id)
    check_failures(record, options.max_failures, "embedded")
    return record


@contextlib.contextmanager
def _made_again(root: str, results: Sequence[ShardResult]) -> Iterator[None]:
    """Forgets shards whose parts are refused; else the next run would find them again, and fail for ever."""
    try:
        yield
    except PartError as error:
        Workspace(root=root).forget(result.name for result in results if result.files.get("data") in error.paths)
        raise CommitError(f"{error}; nothing was published, run again: its images will be embedded anew") from error


def _describe_encoder(embed: EmbedOptions, parts: Sequence[Part], record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the encoder's part of a run record; compared with TensorFlow when something was encoded."""
    specification = embed.specification
    described: dict[str, Any] = {
        "encoder": specification.name,
        "encoder_fingerprint": specification.fingerprint,
        "engine": specification.engine,
        "precision": specification.precision,
    }
    if specification.calibration:
        fetch_calibration(specification, embed.table)
        described["calibration"] = calibration_facts(specification)
    if record["embedded"] > record["resumed"]:
        files = [join(embed.table, part.path) for part in parts]
        described["cosine_to_tensorflow"] = compare_stored(
            specification, files, embed.roots, record["seconds"], embed.trust_model
        )
        described["peak_memory_mb"] = max(record["peak_memory_mb"], peak_memory_mb())
    return described


def _describe_views(embed: EmbedOptions, results: Sequence[ShardResult]) -> dict[str, Any]:
    """Returns which views are made, and how many rows of the run are views."""
    rows = sum(result.rows - result.encoded - result.copied for result in results)
    return {**dataclasses.asdict(embed.views), "key": embed.views.key, "seed": embed.views.SEED_RULE, "rows": rows}


def _check_published(table: FeatureTable, version: int, parts: Sequence[Part], run_id: str) -> None:
    """Tells the repetition of a commit from another run under the same name."""
    live = {file.path for file in FeatureTable.open(table.path, version).data_files()}
    if not live.issuperset(part.path for part in parts):
        raise CommitError(
            f"run id {run_id} has published other images before, in version {version}; nothing is published now: "
            "repeat the command with another --run-id, finished work is kept"
        )


def commit_predictions(
    results: Sequence[ShardResult],
    planned: Mapping[str, int],
    _gone: Mapping[str, int],
    output: str,
    model: Mapping[str, Any],
    options: CommitOptions,
) -> dict[str, Any]:
    """Gives the parts their final names, writes the run record that lists them, removes what it replaces.

    Raises:
      CommitError, TooManyFailuresError: as commit_features.
    """
    record = options.summarise(results, planned, "scored")
    workspace = Workspace(root=output)

    def publish(result: ShardResult) -> list[str]:
        final = {kind: _prediction_name(kind, result.name) for kind in result.files}
        publish_files(output, {file: final[kind] for kind, file in result.files.items()})
        workspace.replace(dataclasses.replace(result, files=final, resumed=False))
        return list(final.values())

    files = [file for some in map_in_threads(publish, results) for file in some]
    address = join(output, "run.json")
    record |= {
        "files": sorted(files),
        "model": dict(model),
        "configuration": dict(options.configuration),
    }
    write_run_record(address, record)
    workspace.forget(_remove_other_predictions(output, frozenset(files)) - {result.name for result in results})
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


def _remove_other_predictions(output: str, files: Collection[str]) -> set[str]:
    """Removes predictions that an older, or an interrupted, run has left; returns the names of their shards."""
    filesystem, base = open_filesystem(output)
    shards = set()
    for info in filesystem.get_file_info(fs.FileSelector(base)):
        match = _PUBLISHED.fullmatch(info.base_name)
        if match and info.base_name not in files:
            remove_file(filesystem, info.path)
            shards.add(match.group(1))
    return shards


def write_run_record(address: str, record: Mapping[str, Any]) -> None:
    """Writes a run record, whole or not at all."""
    filesystem, path = open_filesystem(address)
    write_atomically(filesystem, path, json.dumps(record, indent=2).encode())


def _words(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in failures.items())


def check_failures(record: Mapping[str, Any], max_failures: str, verb: str) -> None:
    """Raises TooManyFailuresError when a finished run has more dead letters than allowed."""
    if record["failed"] > allowed_failures(max_failures, record["listed"]):
        raise TooManyFailuresError(
            f"{record['failed']} of {plural(record['listed'], 'image')} failed, more than --max-failures "
            f"{max_failures} allows ({_words(record['failures'])}); what could be {verb} is published; for example "
            f"{record['failure_example']}"
        )


Publish = Callable[[Sequence[ShardResult], Mapping[str, int], Mapping[str, int]], dict[str, Any]]
"""Publishes shard results, given the plan's counts and the files of images to take out; returns the run record."""


@dataclasses.dataclass(kw_only=True)
class CommitParts(beam.PTransform):
    """Shard results, plan counts and files of ids to take out to the run record as JSON; publishes on the way.

    Attributes:
      publish: commit_features or commit_predictions, with all but the first three arguments bound.
      plan_directory: of the plan, which is not needed any more afterwards.
    """

    publish: Publish
    plan_directory: str

    def expand(self, collections: tuple[beam.PCollection, beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """Maps ``publish`` over one element, after all shards."""
        results, planned, gone = collections
        once = results.pipeline | "Once" >> beam.Create([None])
        sides = (beam.pvalue.AsIter(results), beam.pvalue.AsDict(planned), beam.pvalue.AsDict(gone))
        return once | "Commit" >> beam.Map(_commit, *sides, self.publish, self.plan_directory)


def _commit(
    _: None,
    results: Iterable[str],
    planned: Mapping[str, int],
    gone: Mapping[str, int],
    publish: Publish,
    plan_directory: str,
) -> str:
    try:
        record = json.dumps(publish([ShardResult.from_json(result) for result in results], planned, gone))
    except TooManyFailuresError:  # published all the same
        remove_directory(plan_directory)
        raise
    remove_directory(plan_directory)
    return record


def _prediction_name(kind: str, shard: str) -> str:
    return f"{'errors' if kind == 'errors' else 'predictions'}_{shard}.{PREDICTION_SUFFIXES[kind]}"

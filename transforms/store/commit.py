"""Publishes parts: one atomic commit a run, however often and wherever it is tried."""

from __future__ import annotations

import getpass
import json
import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.transaction import AddAction, RemoveAction

from transforms.encoders.specification import EncoderSpecification
from transforms.errors import CommitError, HeliographError
from transforms.files.filesystem import is_local, join, open_filesystem, read_bytes
from transforms.store import delta
from transforms.store.check import check_parts
from transforms.store.schema import feature_schema, file_metadata, read_configuration, schema_difference
from transforms.store.supersede import Superseded
from transforms.store.write import Part, sync

_ATTEMPTS = 200
_ROWS_KEY = "heliograph.rows"


class Committed(NamedTuple):
    """A run that is published.

    Attributes:
      version: of the table that has the run's rows.
      rows: that the run added.
      already: whether an earlier call with the same run id had published it.
    """

    version: int
    rows: int
    already: bool


def append(
    run_id: str,
    parts: Sequence[Part],
    superseded: Superseded,
    metadata: Mapping[str, str],
    base_version: int | None,
) -> Committed:
    """Adds the parts and takes out the rows they replace, in one version; see FeatureTable.append.

    The transaction's number is the version that it makes, and deltalake's own retries are off: any commit
    between our snapshot and ours fails it, so what was checked is what is committed on.
    """
    if not run_id:
        raise ValueError("run_id must not be empty")
    path = superseded.root
    table = _open(path)
    done = _published(table, path, run_id, parts)
    if done is not None:
        return done
    specification, _ = read_configuration(table.metadata().configuration, path)
    schema = feature_schema(specification.dimension)
    adds = check_parts(path, parts, schema, specification.fingerprint)
    if not adds and not superseded:
        return Committed(table.version(), 0, already=False)
    known = _known_files(table, path, base_version)
    for attempt in range(_ATTEMPTS):
        _check_schema(table, path, schema)
        actions = _actions(superseded, adds, table, known, specification)
        if not actions:  # another run has published these very parts, or there is nothing to take out
            return Committed(table.version(), sum(part.rows for part in parts), already=bool(adds))
        failure = _commit(table, actions, schema, _properties(table, run_id, parts, metadata))
        newest = _open(path)
        done = _published(newest, path, run_id, parts)
        if done is not None:  # ours, or that of a twin who was faster
            superseded.discard(_open(path, done.version))  # a newer version may have replaced our files again
            _sync_log(path, done.version)
            return done._replace(already=failure is not None)
        if failure is not None and newest.version() == table.version():
            superseded.discard(newest)
            raise CommitError(f"nothing was published to {path}: {failure}") from failure
        table = newest
        time.sleep(random.uniform(0, min(1.0, 0.02 * 2 ** min(attempt, 6))))
    superseded.discard(table)
    raise CommitError(f"nothing was published to {path}: others committed {_ATTEMPTS} times meanwhile; run again")


def exchange(
    path: str,
    run_id: str,
    choose: Callable[[DeltaTable], list[AddAction | RemoveAction]],
    schema: pa.Schema,
    metadata: Mapping[str, str],
) -> int:
    """Commits what ``choose`` makes of the newest version; asks again whenever another commit was faster.

    Returns:
      The version that was made, or the newest one when there was nothing to do.

    Raises:
      CommitError: nothing was committed.
    """
    table = _open(path)
    for attempt in range(_ATTEMPTS):
        actions = choose(table)
        if not actions:
            return int(table.version())
        _check_schema(table, path, schema)
        failure = _commit(table, actions, schema, _properties(table, run_id, (), metadata))
        newest = _open(path)
        done = _published(newest, path, run_id, ())
        if done is not None:
            _sync_log(path, done.version)
            return done.version
        if failure is not None and newest.version() == table.version():
            raise CommitError(f"nothing was committed to {path}: {failure}") from failure
        table = newest
        time.sleep(random.uniform(0, min(1.0, 0.02 * 2 ** min(attempt, 6))))
    raise CommitError(f"nothing was committed to {path}: others committed {_ATTEMPTS} times meanwhile; run again")


def _open(path: str, version: int | None = None) -> DeltaTable:
    with delta.errors_as(CommitError, f"{path} cannot be opened"):
        return delta.open_delta(path, version)


def _published(table: DeltaTable, path: str, run_id: str, parts: Sequence[Part]) -> Committed | None:
    version = table.transaction_version(run_id)
    if version is None:
        return None
    files, base = open_filesystem(path)
    try:
        entries = read_bytes(files, _log_path(base, version)).splitlines()
        info = next(entry["commitInfo"] for entry in map(json.loads, entries) if "commitInfo" in entry)
        rows = int(info[_ROWS_KEY])
    except (OSError, KeyError, ValueError, StopIteration):  # the log was cut by another
        rows = sum(part.rows for part in parts)
    return Committed(version, rows, already=True)


def _known_files(table: DeltaTable, path: str, base_version: int | None) -> set[str]:
    """Returns the live files at the version the run planned with; none when there was no such version."""
    if base_version is None:
        return set()
    base = table
    if base_version != table.version():
        try:
            base = _open(path, base_version)
        except CommitError:
            return set()  # slower and as right: every file is compared
    return {file.path for file in delta.data_files(base, path)}


def _check_schema(table: DeltaTable, path: str, schema: pa.Schema) -> None:
    difference = schema_difference(pa.schema(table.schema().to_arrow()), schema)
    if difference:
        raise CommitError(f"the schema of {path} was changed by another: {difference}; nothing was published")


def _actions(
    superseded: Superseded,
    adds: Sequence[AddAction],
    table: DeltaTable,
    known: set[str],
    specification: EncoderSpecification,
) -> list[AddAction | RemoveAction]:
    """Returns what the commit does: parts that are not live yet come, rows they replace go."""
    live = delta.data_files(table, superseded.root)
    there = {file.path for file in live}
    ours = {action.path for action in adds}
    actions: list[AddAction | RemoveAction] = [action for action in adds if action.path not in there]
    schema, metadata = feature_schema(specification.dimension), file_metadata(specification)
    try:
        for file in superseded.find([file for file in live if file.path not in ours], known):
            rewritten = superseded.rewrite(file, schema, metadata)
            actions.append(RemoveAction(file.path, True, int(time.time() * 1000), file.size, {}))
            if rewritten is not None:
                actions.append(rewritten)
    except CommitError:
        superseded.discard(table)
        raise
    return actions


def _properties(table: DeltaTable, run_id: str, parts: Sequence[Part], metadata: Mapping[str, str]) -> CommitProperties:
    rows = sum(part.rows for part in parts)
    given: dict[str, Any] = {f"heliograph.{key}": str(value) for key, value in metadata.items()}
    given = {"heliograph.by": author(), **given}
    return CommitProperties(
        custom_metadata={**given, "heliograph.run_id": run_id, _ROWS_KEY: str(rows)},
        max_commit_retries=0,
        app_transactions=[Transaction(run_id, table.version() + 1)],
    )


def author() -> str:
    """Returns ``user@host`` of this process; a user id where the system knows no name for it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{platform.node()}"


def _commit(
    table: DeltaTable, actions: Sequence[Any], schema: pa.Schema, properties: CommitProperties
) -> HeliographError | None:
    """Commits on the very snapshot that was checked; returns what failed rather than raising it."""
    plain = Schema.from_arrow(schema.remove_metadata())
    try:
        with delta.errors_as(CommitError, "the log could not be written"):
            table.create_write_transaction(list(actions), "append", plain, commit_properties=properties)
    except CommitError as error:
        return error
    return None


def _log_path(base: str, version: int) -> str:
    return join(base, "_delta_log", f"{version:020d}.json")


def _sync_log(path: str, version: int) -> None:
    """Forces a local commit to the disk before it is acknowledged, as its parts were."""
    if not is_local(path):
        return
    log = _log_path(path, version)
    for entry in (log, log.rsplit("/", 1)[0]):
        try:
            sync(entry)
        except FileNotFoundError:
            continue  # a checkpoint has taken its place

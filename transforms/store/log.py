"""The versions of a table as its Delta log tells them: what each did, when and by whom."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from pyarrow import fs

from transforms.errors import OptionError, StoreError
from transforms.files.filesystem import join, open_filesystem, read_bytes
from transforms.store import delta

AtVersion = int | datetime.datetime | None
"""A version by number or by time; None is the newest."""

_ENTRY = re.compile(r"(\d{20})\.json")
_COMMITTED = re.compile(r"\d{20}\.(json|checkpoint.*parquet)|_last_checkpoint")
_OURS = "heliograph."
_COUNTS = ("listed", "embedded", "reused", "failed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VersionEntry:
    """One version of a table.

    Attributes:
      version: its number.
      time: of the commit, UTC; None where the log does not say.
      operation: ``create``, ``embed``, ``retract``, ``compact``, or what another tool calls its own.
      run_id: of the run that committed; empty for another tool.
      by: ``user@host`` that committed, empty where it is not recorded.
      counts: of the run: ``listed``, ``embedded``, ``reused``, ``failed``.
      files: live data files.
      rows: live rows; None when the log does not know those of a file.
      rows_added: in new files, those of rewritten files included.
      rows_removed: in files that went.
      missing: live files that are not there any more; the version can be read when there are none.
    """

    version: int
    time: datetime.datetime | None
    operation: str
    run_id: str
    by: str
    counts: dict[str, int]
    files: int
    rows: int | None
    rows_added: int
    rows_removed: int
    missing: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {**dataclasses.asdict(self), "time": self.time.isoformat(timespec="milliseconds") if self.time else None}


def parse_version(text: str) -> int | datetime.datetime:
    """Reads ``--version``: a number, or a time as ISO 8601 has it; without a zone it is UTC, a day is its midnight.

    Raises:
      OptionError: for anything else.
    """
    if re.fullmatch(r"\d{1,18}", text):
        return int(text)
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise OptionError(
            f"--version must be a number such as 3 or a time such as 2026-03-01T06:00Z, got {text!r}"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def resolve_version(path: str, at: AtVersion) -> int | None:
    """Returns the number of the version that was the newest at a time; a number or None is returned as it is.

    Raises:
      StoreError: the table is younger than that.
    """
    if not isinstance(at, datetime.datetime):
        return at
    moment = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
    found, earliest = None, None
    for version, entries in read_log(path):
        committed = _time(_commit_info(entries))
        if committed is None:
            continue
        earliest = earliest or committed
        if committed <= moment:
            found = version
    if found is None:
        since = f"begins at {earliest.isoformat(timespec='seconds')}" if earliest else "has no dated version"
        raise StoreError(f"{path} has no version of {moment.isoformat(timespec='seconds')}: it {since}")
    return found


def has_log(path: str) -> bool:
    """Returns whether a Delta log lies below ``path``; deltalake's own answer keeps all threads waiting meanwhile."""
    system, base = open_filesystem(path)
    with delta.errors_as(StoreError, f"{path} cannot be looked at"):
        infos = _entries(system, base)
    return any(_COMMITTED.fullmatch(info.base_name) for info in infos)


def _entries(system: fs.FileSystem, base: str) -> list[fs.FileInfo]:
    """Returns what lies in the log's directory.

    Raises:
      OSError: it cannot be listed.
    """
    selector = fs.FileSelector(join(base, "_delta_log"), allow_not_found=True)
    try:
        return list(system.get_file_info(selector))
    except FileNotFoundError:  # Arrow's answer to a directory that is made between its listing and its look for it
        return list(system.get_file_info(selector))


def last_change(path: str, version: int) -> datetime.datetime | None:
    """Returns when a version was committed, or the newest before it that has a time; None where the log has none."""
    entries = read_log(path, newest_first=True)
    times = (_time(_commit_info(actions)) for number, actions in entries if number <= version)
    return next(filter(None, times), None)


def read_log(path: str, newest_first: bool = False) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yields the number and the actions of every version that the log still tells of, oldest first by default."""
    system, base = open_filesystem(path)
    with delta.errors_as(StoreError, f"the log of {path} cannot be read"):
        infos = _entries(system, base)
        numbered = sorted((match[1], info.path) for info in infos if (match := _ENTRY.fullmatch(info.base_name)))
        for number, file in reversed(numbered) if newest_first else numbered:
            try:
                lines = read_bytes(system, file).splitlines()
            except FileNotFoundError:
                continue  # cleaned up at this moment, by another tool
            yield int(number), [json.loads(line) for line in lines if line.strip()]


def added_files(actions: list[dict[str, Any]]) -> Iterator[tuple[str, int | None]]:
    """Yields path and rows of the files that a version adds."""
    for action in actions:
        if "add" in action:
            statistics = json.loads(action["add"].get("stats") or "{}")
            yield unquote(action["add"]["path"]), statistics.get("numRecords")


def removed_files(actions: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the paths of the files that a version takes out."""
    for action in actions:
        if "remove" in action:
            yield unquote(action["remove"]["path"])


def live_files(path: str) -> Iterator[tuple[int, list[dict[str, Any]], dict[str, int | None]]]:
    """Yields number, actions and live files (path to rows) of each version; the mapping changes as it goes on."""
    live: dict[str, int | None] | None = None
    for version, actions in read_log(path):
        if live is None:
            live = {} if version == 0 else _checkpointed(path, version)
            if live is None:
                continue  # an entry that is left over from before the checkpoint
        for name in removed_files(actions):
            live.pop(name, None)
        live.update(added_files(actions))
        yield version, actions, live


def read_versions(path: str, existing: set[str] | None = None) -> list[VersionEntry]:
    """Returns the versions of a table, oldest first.

    Args:
      existing: paths of the data files that are there, relative to the table; all by default.
    """
    entries: list[VersionEntry] = []
    rows_of: dict[str, int | None] = {}
    for version, actions, live in live_files(path):
        info = _commit_info(actions)
        added = dict(added_files(actions))
        removed = sum(rows_of.get(name) or 0 for name in removed_files(actions))
        rows_of.update(live if not entries else added)
        known = [rows for rows in live.values() if rows is not None]
        entries.append(
            VersionEntry(
                version=version,
                time=_time(info),
                operation=_operation(info),
                run_id=str(info.get(f"{_OURS}run_id", "")),
                by=str(info.get(f"{_OURS}by", "")),
                counts={name: int(info[_OURS + name]) for name in _COUNTS if str(info.get(_OURS + name)).isdigit()},
                files=len(live),
                rows=sum(known) if len(known) == len(live) else None,
                rows_added=sum(rows or 0 for rows in added.values()),
                rows_removed=removed,
                missing=0 if existing is None else len(live.keys() - existing),
            )
        )
    return entries


def _checkpointed(path: str, version: int) -> dict[str, int | None] | None:
    """Returns the live files of a version from its checkpoint; None when there is none."""
    try:
        with delta.errors_as(StoreError, "cannot be opened"):
            table = delta.open_delta(path, version)
    except StoreError:
        return None
    return {file.path: file.rows if file.rows >= 0 else None for file in delta.data_files(table, path)}


def _commit_info(actions: list[dict[str, Any]]) -> Mapping[str, Any]:
    return next((action["commitInfo"] for action in actions if "commitInfo" in action), {})


def _time(info: Mapping[str, Any]) -> datetime.datetime | None:
    milliseconds = info.get("inCommitTimestamp", info.get("timestamp"))
    if not isinstance(milliseconds, int):
        return None
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)


def _operation(info: Mapping[str, Any]) -> str:
    if f"{_OURS}operation" in info:
        return str(info[f"{_OURS}operation"])
    if f"{_OURS}run_id" in info:
        return "embed"
    operation = str(info.get("operation", "unknown"))
    return "create" if operation == "CREATE TABLE" else operation.lower()

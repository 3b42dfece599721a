"""Vacuums a table: files go that no version within the retention, no cited one and no run in progress needs."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection
from typing import Any

from transforms.errors import OptionError, StoreError
from transforms.store.files import WORK, StoredFile, delete_files, list_data_files, list_work_files, marked_parts
from transforms.store.log import live_files, read_versions
from transforms.store.table import FeatureTable

RETENTION_HOURS = 168.0
LEAST_HOURS = 24.0
"""Below this a vacuum could take files from a job that still reads or writes them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VacuumPlan:
    """What a vacuum would remove.

    Attributes:
      table: its path.
      version: the newest.
      replaced: data files that only versions before the retention have.
      orphans: data files that no version has, and temporary ones.
      work: stale markers, heartbeats and unpublished parts below ``_work``.
      lost_versions: those that can be read now and not afterwards.
      kept_versions: older than the retention and kept all the same, because they are cited.
      running: files of runs that may be in progress were left alone.
      bytes: of all these files.
    """

    table: str
    version: int
    replaced: tuple[str, ...]
    orphans: tuple[str, ...]
    work: tuple[str, ...]
    lost_versions: tuple[int, ...]
    kept_versions: tuple[int, ...]
    running: bool
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def plan_vacuum(
    table: FeatureTable,
    retention_hours: float = RETENTION_HOURS,
    cited: Collection[int] = (),
    force: bool = False,
    now: datetime.datetime | None = None,
) -> VacuumPlan:
    """Finds what can go.

    A version is kept when it was the newest at any time within the retention, when it is cited, or when it is the
    newest now. Uncommitted files are kept when they, or the marker that names them, are younger than the retention;
    while a run shows signs of life they are all kept.

    Args:
      cited: versions that something, such as a model, refers to.
      force: allows a retention below LEAST_HOURS, and takes no run for alive.

    Raises:
      OptionError: the retention is too short.
      StoreError: a cited version is not one of the table's.
    """
    if retention_hours < 0 or (retention_hours < LEAST_HOURS and not force):
        raise OptionError(
            f"--retention-hours {retention_hours:g} could take files from running jobs, the least is {LEAST_HOURS:g}; "
            "add --force when none runs"
        )
    moment = now or datetime.datetime.now(datetime.UTC)
    cutoff = moment - datetime.timedelta(hours=retention_hours)
    data, work = list_data_files(table.path), list_work_files(table.path)
    entries = read_versions(table.path, {file.name for file in data})
    unknown = set(cited).difference(entry.version for entry in entries)
    if unknown:
        raise StoreError(f"{table.path} has no version {min(unknown)}, which --models or --keep-version names")
    recent = {
        entry.version
        for entry, following in zip(entries, [*entries[1:], None], strict=True)
        if following is None or following.time is None or following.time >= cutoff
    }
    needed, known, lost = _references(table.path, recent.union(cited), {file.name for file in data})
    alive = not force and any(_is_heartbeat(file) and file.modified >= _alive_since(moment) for file in work)
    stale = [] if alive else [file for file in work if file.modified < cutoff]
    fresh = {file.name for file in work}.difference(_names(stale))
    needed.update(marked_parts(table.path, [name for name in fresh if name.startswith(f"{WORK}/shards/")]))
    replaced = [file for file in data if file.name in known and file.name not in needed]
    old = [file for file in data if file.name not in known and file.name not in needed and file.modified < cutoff]
    orphans = [] if alive else old
    return VacuumPlan(
        table=table.path,
        version=table.version,
        replaced=_names(replaced),
        orphans=_names(orphans),
        work=_names(stale),
        lost_versions=tuple(sorted(lost)),
        kept_versions=tuple(sorted(set(cited) - recent)),
        running=alive,
        bytes=sum(file.size for file in (*replaced, *orphans, *stale)),
    )


def vacuum(table: FeatureTable, plan: VacuumPlan) -> None:
    """Removes the files of a plan, markers before the parts that they name; may be repeated.

    Raises:
      StoreError: a file cannot be removed.
    """
    delete_files(table.path, [*plan.work, *plan.orphans, *plan.replaced])


def _references(path: str, kept: set[int], existing: set[str]) -> tuple[set[str], set[str], set[int]]:
    """Returns the files that kept versions need, those that any version has, and the versions that will be lost."""
    needed: set[str] = set()
    known: set[str] = set()
    for version, _, live in live_files(path):
        known.update(live)
        if version in kept:
            needed.update(live)
    lost = set()
    for version, _, live in live_files(path):
        if existing.issuperset(live) and not needed.issuperset(live):
            lost.add(version)
    return needed, known, lost


def _is_heartbeat(file: StoredFile) -> bool:
    return file.name.startswith(f"{WORK}/progress/")


def _alive_since(now: datetime.datetime) -> datetime.datetime:
    return now - datetime.timedelta(hours=LEAST_HOURS)


def _names(files: Collection[StoredFile]) -> tuple[str, ...]:
    return tuple(file.name for file in files)

"""Retracts images: their rows go, in one commit, from the newest version of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from transforms.store.commit import Committed
from transforms.store.read import iterate
from transforms.store.table import FeatureTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Meant:
    """Which images a retraction means: those of any of these.

    Attributes:
      image_ids: entity keys.
      image_uris: addresses, as the rows have them.
      groups: keys of groups, all of their images.
    """

    image_ids: Collection[str] = ()
    image_uris: Collection[str] = ()
    groups: Collection[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retraction:
    """What a retraction found, or did.

    Attributes:
      table: its path.
      version: that no longer has the rows; the newest one when there was nothing to do.
      image_ids: of the images that the table had.
      rows: of these images, augmented views included.
      unknown: what was named and is not in the table.
    """

    table: str
    version: int
    image_ids: tuple[str, ...]
    rows: int
    unknown: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {**dataclasses.asdict(self), "image_ids": list(self.image_ids), "unknown": list(self.unknown)}


def find_meant(table: FeatureTable, meant: Meant) -> Retraction:
    """Returns what a retraction would take out, reading three columns of the table."""
    wanted = {"image_id": meant.image_ids, "image_uri": meant.image_uris, "group": meant.groups}
    sets = {name: pa.array(sorted(set(values)), pa.string()) for name, values in wanted.items() if values}
    images: set[str] = set()
    seen: dict[str, set[str]] = {name: set() for name in sets}
    rows = 0
    for batch in iterate(table, ["image_id", "image_uri", "group"], 65536) if sets else ():
        masks = {name: pc.is_in(batch.column(name), value_set=values) for name, values in sets.items()}
        for name, mask in masks.items():
            seen[name].update(batch.column(name).filter(mask).to_pylist())
        first, *others = masks.values()
        for other in others:
            first = pc.or_(first, other)
        hits = batch.column("image_id").filter(first)
        rows += len(hits)
        images.update(hits.to_pylist())
    unknown = [value for name, values in sets.items() for value in values.to_pylist() if value not in seen[name]]
    return Retraction(
        table=table.path, version=table.version, image_ids=tuple(sorted(images)), rows=rows, unknown=tuple(unknown)
    )


def retract(table: FeatureTable, run_id: str, meant: Meant) -> Retraction:
    """Takes the images out in one new version; older versions keep their rows until a vacuum.

    Raises:
      CommitError: nothing was retracted; the call may be repeated.
    """
    found = find_meant(table, meant)
    if not found.image_ids:
        return found
    words = {"operation": "retract", "retracted": str(len(found.image_ids))}
    committed: Committed = table.append(run_id, [], found.image_ids, words, base_version=table.version)
    return dataclasses.replace(found, version=committed.version)

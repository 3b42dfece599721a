"""A plan: what happens to each image, and which shards follow; joined and cut in files, range by range of keys.

References and known images are written as sorted runs (files/runs.py); only descriptions of files cross a shuffle.
A key begins with the container's hash, or the image's own, so that a container's members stay together.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import ErrorClass
from transforms.files.runs import GROUP_ROWS, KEY, KEY_BYTES, keys_of, read_rows, write_rows
from transforms.images.augment import NO_VIEWS, Views
from transforms.shards.shard import Shard
from transforms.sources.reference import SPLITS, ImageReference
from transforms.sources.split import SplitRatios
from transforms.store.read import pairs_of, read_file
from transforms.store.schema import VIEWS_KEY

NEW, CHANGED, RELABELLED, REUSED, REMOVED, LISTED = "new", "changed", "relabelled", "reused", "removed", "listed"
AUGMENTED = "augmented"
"""An image whose own row would stay, but whose views come, go, or are of another policy."""

KNOWN_COLUMNS = (
    "image_id",
    "image_uri",
    "source_fingerprint",
    "labels",
    "split",
    "group",
    "sha256",
    "view_id",
    "attributes",
)

LISTED_SCHEMA = pa.schema(
    [
        KEY,
        ("state", pa.uint64()),
        ("container", pa.binary()),
        ("ordinal", pa.uint64()),
        ("payload", pa.binary()),
    ]
)
"""A listed reference: ``state`` sums up all that makes a row, 0 when that is not known; ``payload`` is its JSON."""

KNOWN_SCHEMA = pa.schema(
    [
        KEY,
        ("state", pa.uint64()),
        ("natural_state", pa.uint64()),
        ("in_scope", pa.bool_()),
        ("payload", pa.binary()),
    ]
)
"""A known image: a reference of the same state, or of ``natural_state`` when it names no split, is unchanged."""

TODO_SCHEMA = pa.schema(
    [("container", pa.binary()), ("ordinal", pa.uint64()), ("replaces", pa.bool_()), ("payload", pa.binary())]
)
"""A reference that becomes a row or a dead letter, in the order of the shards."""

Numbers = npt.NDArray[np.uint64]
_CUT = np.dtype([("shard", "<u8"), ("first", "<u8"), ("rows", "<u8")])


class KnownImage(NamedTuple):
    """What the table knows of an image: enough to tell whether it must be looked at again."""

    fingerprint: str
    metadata_digest: str
    split: str
    sha256: str
    has_views: bool


class PlannedRange(NamedTuple):
    """What becomes of the images of one range of keys.

    Attributes:
      counts: the plan's figures: ``listed``, ``new`` …
      todo: address of a file of TODO_SCHEMA, empty when there is nothing to do.
      todo_rows: in it.
      gone: address of a file with the ids of those who were removed, empty when there is none.
      gone_rows: in it.
    """

    counts: dict[str, int]
    todo: str
    todo_rows: int
    gone: str
    gone_rows: int


class PlannedShard(NamedTuple):
    """A shard that is planned: its references lie in files.

    Attributes:
      purpose: what will be done to the images.
      images: their number.
      pieces: address of a file of TODO_SCHEMA, first row, number of rows.
    """

    purpose: str
    images: int
    pieces: tuple[tuple[str, int, int], ...]

    def load(self) -> Shard:
        """Reads the references."""
        references, replaced = [], []
        for address, first, rows in self.pieces:
            groups = range(first // GROUP_ROWS, (first + rows - 1) // GROUP_ROWS + 1)
            read = read_rows(address, groups, ["replaces", "payload"]).slice(first % GROUP_ROWS, rows)
            found = [ImageReference.from_json(payload) for payload in read["payload"].to_pylist()]
            references += found
            replaced += [one.image_id for one, old in zip(found, read["replaces"].to_pylist(), strict=True) if old]
        return Shard.of(references, replaced, self.purpose)


def listed_row(reference: ImageReference) -> tuple[bytes, int, bytes, int, bytes]:
    """Returns a reference as a row of LISTED_SCHEMA."""
    key = key_of(reference.uri)
    state = 0
    if reference.fingerprint and not reference.problem:
        state = _state(reference.fingerprint, reference.metadata_digest, reference.split)
    container, ordinal = b"", int.from_bytes(key[4:12], "big")
    member = reference.member
    if member is not None:
        container, ordinal = _encoded(member.container), 0 if member.sequential else member.ordinal
    return key, state, container, ordinal, reference.to_json()


def known_rows(
    data_file: str, scopes: Collection[str], split: SplitRatios | None, views: Views
) -> Iterator[tuple[Any, ...]]:
    """Yields each image of one data file of a table as a row of KNOWN_SCHEMA; see known_row.

    The views of an image are the rows behind its own. Where another tool has parted them, they are made again.
    """
    image: tuple[ImageReference, str, str] | None = None
    policies: list[str] = []
    for view_id, stored, image_id, sha256 in _stored_rows(data_file):
        if view_id == 0:
            if image is not None:
                yield known_row(*image, scopes, split, policies, views)
            image, policies = (stored, image_id, sha256), []
        elif image is not None and image_id == image[1]:
            policies.append(dict(stored.attributes).get(VIEWS_KEY, "") if view_id == len(policies) + 1 else "")
    if image is not None:
        yield known_row(*image, scopes, split, policies, views)


def _stored_rows(data_file: str) -> Iterator[tuple[int, ImageReference, str, str]]:
    """Yields the rows of a data file: ``view_id``, what they say, ``image_id`` and ``sha256``."""
    for batch in read_file(data_file, KNOWN_COLUMNS):
        columns = [batch.column(name).to_pylist() for name in KNOWN_COLUMNS[:-1]]
        for image_id, uri, fingerprint, labels, part, group, sha256, view_id, attributes in zip(
            *columns, pairs_of(batch.column("attributes")), strict=True
        ):
            pairs = tuple(sorted(attributes))
            stored = ImageReference(uri, fingerprint or "", tuple(labels or ()), part or "", group or "", pairs)
            yield view_id, stored, image_id, sha256 or ""


def known_row(
    stored: ImageReference,
    image_id: str,
    sha256: str,
    scopes: Collection[str],
    split: SplitRatios | None,
    policies: Sequence[str] = (),
    views: Views = NO_VIEWS,
) -> tuple[bytes, int, int, bool, bytes]:
    """Returns an image of a table as a row of KNOWN_SCHEMA.

    Args:
      stored: what the row says, its split included.
      image_id: of the row.
      sha256: of the content.
      scopes: beginnings of addresses; who is known there and not listed is removed.
      split: that images without a split of their own fall into; None when splits do not matter.
      policies: Views.key of each view that there is, in the order of their numbers.
      views: that an image of the training split has; one that lacks them, or has others, is not unchanged.
    """
    wanted = views.count if stored.split == SPLITS[0] else 0
    has_views = list(policies) == [views.key] * wanted
    natural = split.assign(stored.group or sha256) if split else stored.split
    digest = stored.metadata_digest
    return (
        key_of(stored.uri, bytes.fromhex(image_id)),
        _state(stored.fingerprint, digest, stored.split) if has_views else 0,
        _state(stored.fingerprint, digest, "") if has_views and natural == stored.split else 0,
        stored.uri.startswith(tuple(scope for scope in scopes if scope)),
        json.dumps(KnownImage(stored.fingerprint, digest, stored.split, sha256, has_views)).encode(),
    )


def key_of(uri: str, identifier: bytes = b"") -> bytes:
    """Returns the key of an image: 4 bytes of its container's hash, or of its own, and the 16 of its id."""
    identifier = identifier or bytes.fromhex(ImageReference(uri).image_id)
    container = uri.rpartition("#")[0]
    return (_container_hash(container) if container else identifier[:4]) + identifier


def plan_range(listed: pa.Table, known: pa.Table, split: SplitRatios | None, directory: str) -> PlannedRange:
    """Joins the references and the known images of one range of keys.

    An unchanged image needs no look at more than its state; nor does a new one.

    Args:
      listed: rows of LISTED_SCHEMA, sorted by key; the same entry may come several times.
      known: rows of KNOWN_SCHEMA, sorted by key, one an image.
      split: that images without a split of their own fall into; None when splits do not matter.
      directory: where the files go.
    """
    keys, stored = keys_of(listed), keys_of(known)
    begins = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
    times = np.diff(np.append(begins, len(keys)))
    places = np.searchsorted(stored, keys[begins])
    is_known = places < len(stored)
    is_known[is_known] = stored[places[is_known]] == keys[begins[is_known]]
    unchanged = (times == 1) & is_known
    unchanged[unchanged] = _same_state(listed.take(begins[unchanged]), known.take(places[unchanged]))
    fresh = (times == 1) & ~is_known
    fresh_rows = listed.take(begins[fresh])
    others = np.flatnonzero(~unchanged & ~fresh)
    counts = collections.Counter({REUSED: int(unchanged.sum()), NEW: len(fresh_rows)})
    odd = []
    for group in others:
        entries = listed["payload"].slice(begins[group], times[group]).to_pylist()
        image = KnownImage(*json.loads(known["payload"][places[group]].as_py())) if is_known[group] else None
        for state, reference, replaces in plan_image(map(ImageReference.from_json, entries), image, split):
            counts[state] += 1
            if state != REUSED:
                odd.append((*listed_row(reference)[2:4], replaces, reference.to_json()))
    counts[LISTED] = counts.total()
    gone = np.flatnonzero(np.isin(np.arange(len(stored)), places[is_known], invert=True) & _flags(known["in_scope"]))
    counts[REMOVED] = len(gone)
    todo = _in_shard_order(fresh_rows, odd)
    ids = pa.table({"image_id": [key.ljust(KEY_BYTES, b"\0")[4:].hex() for key in stored[gone].tolist()]})
    return PlannedRange(
        counts={name: number for name, number in counts.items() if number},
        todo=write_rows(directory, todo) if len(todo) else "",
        todo_rows=len(todo),
        gone=write_rows(directory, ids) if len(gone) else "",
        gone_rows=len(gone),
    )


def plan_image(
    references: Iterable[ImageReference], stored: KnownImage | None, split: SplitRatios | None = None
) -> Iterator[tuple[str, ImageReference, bool]]:
    """Decides what happens to the entries of one image id.

    Args:
      references: as they were listed; the same entry may come several times.
      stored: what the table knows of the image.
      split: that images without a split of their own fall into; None when splits do not matter.

    Yields:
      The state, the reference, and whether it replaces a row. What is not REUSED becomes a row or a dead letter.
    """
    first, *others = listed = sorted(set(references))
    state = _change(first, stored, split)
    yield state, first, state in (CHANGED, RELABELLED, AUGMENTED)
    for other in others:
        message = f"{other.uri} is listed {len(listed)} times with different labels, split, attributes or place"
        yield NEW, other.with_problem(ErrorClass.DUPLICATE_ID, message), False


def cut_file(todo: str, total: int, shard_size: int) -> Iterator[tuple[bytes, tuple[str, bytes]]]:
    """Yields for each container in a file of TODO_SCHEMA, and for the files that are in none, where shards begin.

    Which shard an image falls into follows from what there is to do, not from the order of a listing. Files fall by
    the beginning of their id; members of a container stay together in runs of ``shard_size``, so that a worker reads
    it once and forward; one that can only be read from its beginning is a single shard.

    Yields:
      The container, empty for files; address and cuts: ``(shard, first row, rows)`` as packed integers.
    """
    rows = read_rows(todo, None, ["container", "ordinal"])
    containers = rows["container"].combine_chunks().dictionary_encode()
    codes, ordinals = containers.indices.to_numpy(), rows["ordinal"].to_numpy()
    begins = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    for first, end in zip(begins, [*begins[1:], len(codes)], strict=True):
        container = containers.dictionary[int(codes[first])].as_py()
        numbers = shard_numbers(ordinals[first:end], bool(container), total, shard_size)
        starts = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
        cuts = np.zeros(len(starts), _CUT)
        cuts["shard"], cuts["first"] = numbers[starts], starts + first
        cuts["rows"] = np.diff(np.append(starts, end - first))
        yield container, (todo, cuts.tobytes())


def shard_numbers(ordinals: Numbers, in_container: bool, total: int, shard_size: int) -> Numbers:
    """Returns the shards of one container's members by ordinal, or of files by the first 8 bytes of their id."""
    if in_container:
        return ordinals // np.uint64(shard_size)
    return (ordinals >> np.uint64(32)) * np.uint64(max(1, math.ceil(total / shard_size))) >> np.uint64(32)


def join_cuts(files: Iterable[tuple[str, bytes]], purpose: str) -> Iterator[PlannedShard]:
    """Yields the shards of one container, or of all files, from the cuts of each file."""
    pieces: dict[int, list[tuple[str, int, int]]] = collections.defaultdict(list)
    for address, cuts in files:
        for shard, first, rows in np.frombuffer(cuts, _CUT).tolist():
            pieces[shard].append((address, first, rows))
    for _, found in sorted(pieces.items()):
        yield PlannedShard(purpose, sum(rows for *_, rows in found), tuple(found))


def _change(first: ImageReference, stored: KnownImage | None, split: SplitRatios | None) -> str:
    if stored is None or first.problem:
        return NEW
    if not first.fingerprint or first.fingerprint != stored.fingerprint:
        return CHANGED
    expected = first.split or (split.assign(first.group or stored.sha256) if split else stored.split)
    if first.metadata_digest != stored.metadata_digest or expected != stored.split:
        return RELABELLED
    return REUSED if stored.has_views else AUGMENTED


def _same_state(listed: pa.Table, known: pa.Table) -> npt.NDArray[np.bool_]:
    state = listed["state"].to_numpy()
    same = (state == known["state"].to_numpy()) | (state == known["natural_state"].to_numpy())
    return same & (state != 0)


def _in_shard_order(fresh: pa.Table, odd: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Returns rows of TODO_SCHEMA, sorted by container and ordinal."""
    replaces = pa.array(np.zeros(len(fresh), bool))
    new = fresh.drop_columns(["key", "state"]).add_column(2, "replaces", replaces)
    columns = zip(*odd, strict=True) if odd else ([] for _ in TODO_SCHEMA)
    others = pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, TODO_SCHEMA, strict=True)], schema=TODO_SCHEMA
    )
    todo = pa.concat_tables([new, others])
    order = pc.sort_indices(todo, [("container", "ascending"), ("ordinal", "ascending")])
    return todo.take(order)


def _flags(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    flags: npt.NDArray[np.bool_] = column.to_numpy()
    return flags.astype(bool)


def _state(fingerprint: str, metadata_digest: str, split: str) -> int:
    """Returns 8 bytes of the hash of all that makes a row; never 0."""
    said = f"{fingerprint} {split} {metadata_digest}"
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big") or 1


@functools.lru_cache(maxsize=1024)
def _container_hash(container: str) -> bytes:
    return hashlib.sha256(_encoded(container)).digest()[:4]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # as the store has it

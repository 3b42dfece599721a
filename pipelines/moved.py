"""Which new images are known ones at another address: the run will copy their vectors; ``--dry-run`` tells how many."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from transforms.errors import ImageError
from transforms.files.filesystem import open_filesystem
from transforms.files.runs import read_rows
from transforms.files.threads import map_in_threads
from transforms.images.limits import DEFAULT_LIMITS
from transforms.shards.plan import PlannedShard
from transforms.sources.members import MemberReader
from transforms.sources.read import read_image
from transforms.sources.reference import ImageReference
from transforms.store.index import StoredImage, open_index
from transforms.store.table import FeatureTable

MOST_READ = 10_000
"""New images that are read to compare their content; when there are more, what is found among these is scaled up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moves:
    """What was found.

    Attributes:
      moved: new images whose content the table has of an address that is gone: not listed, or nothing is there.
      read: new images that were compared.
    """

    moved: int
    read: int


def find_moves(
    table: FeatureTable,
    shards: Iterable[PlannedShard],
    gone: Sequence[str],
    scopes: Sequence[str],
    roots: Sequence[str],
    directory: str,
) -> Moves:
    """Compares the content of planned new images with the table's.

    Args:
      shards: of the plan.
      gone: files with the ids of the images that were removed.
      scopes: beginnings of addresses that were listed in full.
      roots: folders below which images must lie.
      directory: for files of this call.
    """
    new = list(islice(_new_images(shards), MOST_READ))
    if not new:
        return Moves(moved=0, read=0)
    members = MemberReader(roots, DEFAULT_LIMITS.max_bytes)
    for reference in new:
        if reference.place:
            members.announce(reference)

    def digest(reference: ImageReference) -> str:
        try:
            if reference.place:
                return hashlib.sha256(members.read(reference)).hexdigest()
            return hashlib.sha256(read_image(reference.uri, roots, DEFAULT_LIMITS.max_bytes)).hexdigest()
        except ImageError:
            return ""

    digests = list(map_in_threads(digest, new))
    members.close()
    known = open_index(table, directory).locate(filter(None, digests))
    removed = _removed({image.image_id for images in known.values() for image in images}, gone)
    left = {sha256 for sha256, images in known.items() if any(_is_gone(image, removed, scopes) for image in images)}
    return Moves(moved=sum(sha256 in left for sha256 in digests), read=len(new))


def _new_images(shards: Iterable[PlannedShard]) -> Iterator[ImageReference]:
    for planned in shards:
        shard = planned.load()
        replaced = frozenset(shard.replaced_ids)
        yield from (one for one in shard.references if not one.problem and one.image_id not in replaced)


def _removed(image_ids: set[str], gone: Sequence[str]) -> set[str]:
    """Returns those of the ids that are in the files, of which one at a time is held."""
    wanted = pa.array(sorted(image_ids), pa.string())
    found: set[str] = set()
    for address in gone:
        ids = read_rows(address, None, ["image_id"])["image_id"]
        found.update(ids.filter(pc.is_in(ids, value_set=wanted)).to_pylist())
    return found


def _is_gone(image: StoredImage, removed: set[str], scopes: Sequence[str]) -> bool:
    if image.image_id in removed:
        return True
    if image.image_uri.startswith(tuple(scope for scope in scopes if scope)):
        return False  # listed
    filesystem, path = open_filesystem(image.image_uri.rpartition("#")[0] or image.image_uri)
    return bool(filesystem.get_file_info(path).type == fs.FileType.NotFound)

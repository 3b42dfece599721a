"""Fingerprints of the objects that a manifest names, asked for in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from transforms.errors import AccessError, InputError
from transforms.files import objects
from transforms.files.filesystem import is_local, open_objects
from transforms.sources.reference import ImageReference

BATCH = 1000
"""Objects that are asked for at once, when a listing has begun with fewer."""


def with_fingerprints(references: Iterable[ImageReference]) -> Iterator[ImageReference]:
    """Adds etag or generation to references of object stores that have none, so that unchanged ones are not read again.

    A bucket that cannot be asked is asked no more; its references stay without, and are read.

    Raises:
      AccessError: an object store does not answer at all, or not without credentials.
    """
    remaining, size = iter(references), 1
    silent: set[str] = set()
    while batch := list(islice(remaining, size)):
        found = _fingerprints([one.uri for one in batch if _lacks_one(one)], silent)
        for reference in batch:
            fingerprint = found.get(reference.uri)
            yield reference._replace(fingerprint=fingerprint) if fingerprint else reference
        size = min(BATCH, size * 4)


def _lacks_one(reference: ImageReference) -> bool:
    return not (reference.fingerprint or reference.problem or is_local(reference.uri))


def _fingerprints(uris: list[str], silent: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for bucket in {_bucket(uri) for uri in uris} - silent:
        ours = [uri for uri in uris if _bucket(uri) == bucket]
        try:
            client, _ = open_objects(bucket)
            paths = [uri.split("://", 1)[1] for uri in ours]
            found |= zip(ours, objects.fingerprints(client, paths), strict=True)
        except AccessError:
            raise
        except (OSError, InputError):
            silent.add(bucket)
    return found


def _bucket(uri: str) -> str:
    return "/".join(uri.split("/", 3)[:3])

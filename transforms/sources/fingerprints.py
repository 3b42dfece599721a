"""Fingerprints of the objects that a manifest names, asked for in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from transforms.errors import HeliographError
from transforms.files.filesystem import is_local, open_filesystem, scheme_of
from transforms.sources.folder import info_fingerprint
from transforms.sources.reference import ImageReference

BATCH = 1000
"""Objects that are asked for at once, when a listing has begun with fewer."""


def with_fingerprints(references: Iterable[ImageReference]) -> Iterator[ImageReference]:
    """Adds size and time to references of object stores that have none, so that unchanged ones are not read again.

    A store that cannot be asked is asked no more; its references stay without, and are read.
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
    for scheme in {scheme_of(uri) for uri in uris} - silent:
        ours = [uri for uri in uris if scheme_of(uri) == scheme]
        try:
            filesystem, _ = open_filesystem(ours[0])
            infos = filesystem.get_file_info([uri.split("://", 1)[1] for uri in ours])
            found |= {uri: info_fingerprint(info) for uri, info in zip(ours, infos, strict=True)}
        except (OSError, ValueError, HeliographError):
            silent.add(scheme)
    return found

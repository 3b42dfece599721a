from __future__ import annotations

import pytest

from tests.emulators import put
from transforms.errors import ErrorClass
from transforms.sources import fingerprints
from transforms.sources.fingerprints import with_fingerprints
from transforms.sources.folder import fingerprint_of
from transforms.sources.reference import ImageReference


def test_objects_get_their_fingerprint_and_others_stay_as_they_are(bucket: str) -> None:
    for number in range(12):
        put(f"{bucket}/{number}.jpg", bytes(number))
    objects = [ImageReference(f"{bucket}/{number}.jpg") for number in range(12)]
    others = [
        ImageReference(f"{bucket}/none.jpg"),
        ImageReference(f"{bucket.split('://')[0]}://no-such-bucket/none.jpg"),
        ImageReference("/local.jpg"),
        ImageReference(f"{bucket}/1.jpg", "known"),
        ImageReference(f"{bucket}/2.jpg").with_problem(ErrorClass.BAD_ROW, "x"),
    ]
    found = list(with_fingerprints([*objects, *others]))
    assert found[:12] == [one._replace(fingerprint=fingerprint_of(one.uri)) for one in objects]
    assert len({one.fingerprint for one in found[:12]} - {""}) == 12
    assert found[12:] == others


def test_a_bucket_that_cannot_be_asked_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken(uri: str) -> None:
        asked.append(uri)
        raise OSError("no route")

    monkeypatch.setattr(fingerprints, "open_objects", broken)
    references = [ImageReference(f"s3://bucket/{number}.jpg") for number in range(30)]
    assert list(with_fingerprints(references)) == references
    assert asked == ["s3://bucket"]

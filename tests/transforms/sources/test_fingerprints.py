from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import fs

from transforms.errors import ErrorClass
from transforms.sources import fingerprints
from transforms.sources.fingerprints import with_fingerprints
from transforms.sources.folder import local_fingerprint
from transforms.sources.reference import ImageReference


def test_objects_get_their_fingerprint_and_others_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bucket").mkdir()
    for number in range(30):
        (tmp_path / "bucket" / f"{number}.jpg").write_bytes(bytes(number))
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(fingerprints, "open_filesystem", lambda uri: (store, ""))
    objects = [ImageReference(f"s3://bucket/{number}.jpg") for number in range(30)]
    others = [
        ImageReference("s3://bucket/none.jpg"),
        ImageReference("/local.jpg"),
        ImageReference("s3://bucket/1.jpg", "known"),
        ImageReference("s3://bucket/2.jpg").with_problem(ErrorClass.BAD_ROW, "x"),
    ]
    found = list(with_fingerprints([*objects, *others]))
    assert found[:30] == [
        one._replace(fingerprint=local_fingerprint(str(tmp_path / one.uri.removeprefix("s3://")))) for one in objects
    ]
    assert found[30:] == others


def test_a_store_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken(uri: str) -> tuple[fs.FileSystem, str]:
        asked.append(uri)
        raise OSError("no route")

    monkeypatch.setattr(fingerprints, "open_filesystem", broken)
    references = [ImageReference(f"s3://bucket/{number}.jpg") for number in range(30)]
    assert list(with_fingerprints(references)) == references
    assert asked == ["s3://bucket/0.jpg"]

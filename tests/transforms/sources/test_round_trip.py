"""The same images in every form give the same references, and the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.image_sets import ADDRESSES_ONLY, FORMS, LABELLED_ONLY, samples
from transforms.sources.dialects import Source, recognise
from transforms.sources.members import MemberReader
from transforms.sources.read import read_image
from transforms.sources.reference import ImageReference

IMAGES = samples(12)
ALL = FORMS | LABELLED_ONLY | ADDRESSES_ONLY


def images_of(sources: list[Source]) -> list[tuple[ImageReference, bytes]]:
    roots = [source.root for source in sources]
    members = MemberReader(roots, 10**6)
    found = []
    for reference in (reference for source in sources for reference in source.list_images()):
        assert reference.problem == ""
        if reference.place:
            members.announce(reference)
            found.append((reference, members.read(reference)))
        else:
            found.append((reference, read_image(reference.uri, roots, 10**6)))
    members.close()
    return found


@pytest.mark.parametrize("name", ALL)
def test_every_form_gives_the_same_images(tmp_path: Path, name: str) -> None:
    dialect, write = ALL[name]
    sources = recognise(str(write(tmp_path, IMAGES)))
    assert {source.dialect for source in sources} == {dialect}
    found = images_of(sources)
    assert len({reference.uri for reference, _ in found}) == len(IMAGES)
    assert all(reference.fingerprint for reference, _ in found)
    labelled, divided = name not in ADDRESSES_ONLY, name in FORMS
    assert sorted((data, reference.labels, reference.split) for reference, data in found) == sorted(
        (image.data, (image.label,) if labelled else (), image.split if divided else "") for image in IMAGES
    )
    assert {reference.attributes for reference, _ in found} == {()}

"""The same images in every form give the same references, and the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.image_sets import FORMS, samples
from transforms.sources.dialects import DIALECTS, Source, recognise
from transforms.sources.members import MemberReader
from transforms.sources.read import read_image
from transforms.sources.reference import ImageReference

IMAGES = samples(12, described=True)


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


def test_every_dialect_has_a_form() -> None:
    assert {form.dialect for form in FORMS.values()} == set(DIALECTS) - {"image"}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_images(tmp_path: Path, name: str) -> None:
    form = FORMS[name]
    sources = recognise(str(form.write(tmp_path, IMAGES)))
    assert {source.dialect for source in sources} == {form.dialect}
    found = images_of(sources)
    assert len({reference.uri for reference, _ in found}) == len(IMAGES)
    assert all(reference.fingerprint for reference, _ in found)
    told = {
        image.data: (
            tuple(image.labels if "labels" in form.tells else image.labels[:1] if "label" in form.tells else ()),
            image.split if "split" in form.tells else "",
            image.group if "group" in form.tells else "",
            (("camera", image.camera),) if "camera" in form.tells else (),
        )
        for image in IMAGES
    }
    assert {data: (one.labels, one.split, one.group, one.attributes) for one, data in found} == told

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.report.thumbnails import thumbnails
from tests.image_sets import FORMS, samples
from transforms.sources.dialects import DIALECTS, recognise


def _open(address: str | None) -> Image.Image:
    assert address is not None
    kind, data = address.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((400, 200), (160, 80)), ((50, 100), (80, 160)), ((1, 1), (160, 160)), ((1500, 10), (160, 1))],
)
def test_thumbnails_keep_the_proportions(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    Image.new("RGB", size, (20, 200, 60)).save(tmp_path / "x.png")
    picture = _open(*thumbnails([str(tmp_path / "x.png")]))
    assert picture.size == expected
    assert np.abs(np.asarray(picture, np.int64) - (20, 200, 60)).max() <= 4


def test_a_turned_photograph_is_shown_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 100), (9, 9, 9)).save(tmp_path / "x.jpg", exif=exif)
    assert _open(*thumbnails([str(tmp_path / "x.jpg")])).size == (53, 160)


def test_what_cannot_be_shown_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<html>")
    Image.effect_noise((300, 300), 90).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:4000])
    with open(tmp_path / "huge.png", "wb") as stream:
        stream.truncate(2**40)
    names = ("pipe", "empty.png", "text.png", "half.jpg", "huge.png", "missing.png", "", "x" * 5000)
    uris = ["", "\0", "ftp://x/y.png", "https://x/y.png", "\udc80"]
    for uri in [*uris, *(str(tmp_path / name) for name in names)]:
        assert thumbnails([uri, f"{uri}#0001.jpg", "#"]) == [None] * 3


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if DIALECTS[form.dialect].is_container])
def test_images_in_containers_are_shown(tmp_path: Path, name: str) -> None:
    images = samples(6)
    sources = recognise(str(FORMS[name].write(tmp_path, images)))
    references = [reference for source in sources for reference in source.list_images()]
    wanted = [references[4].uri, references[1].uri, f"{references[0].place[0]}#missing.jpg"]
    second, first, missing = thumbnails(wanted)
    assert missing is None
    for picture, image in ((first, images[1]), (second, images[4])):
        with Image.open(io.BytesIO(image.data)) as original:
            expected = np.asarray(original.resize((160, 120)), np.int64)
        assert np.abs(np.asarray(_open(picture), np.int64) - expected).mean() < 12

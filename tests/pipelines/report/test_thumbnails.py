from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.report.thumbnails import thumbnail


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
    picture = _open(thumbnail(str(tmp_path / "x.png")))
    assert picture.size == expected
    assert np.abs(np.asarray(picture, np.int64) - (20, 200, 60)).max() <= 4


def test_a_turned_photograph_is_shown_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 100), (9, 9, 9)).save(tmp_path / "x.jpg", exif=exif)
    assert _open(thumbnail(str(tmp_path / "x.jpg"))).size == (53, 160)


def test_what_cannot_be_shown_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<html>")
    Image.effect_noise((300, 300), 90).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:4000])
    with open(tmp_path / "huge.png", "wb") as stream:
        stream.truncate(2**40)
    for name in ("pipe", "empty.png", "text.png", "half.jpg", "huge.png", "missing.png", "", "x" * 5000):
        assert thumbnail(str(tmp_path / name)) is None
    for uri in ("", "\0", "ftp://x/y.png", "https://x/y.png", "\udc80"):
        assert thumbnail(uri) is None

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.same_answer.collection import bad_files, draw_collection, write_collection
from transforms.encoders.specification import Preprocessing
from transforms.errors import ErrorClass, ImageError
from transforms.images.decode import decode_image

SMALL = Preprocessing(height=8, width=8)


def test_what_is_said_of_an_image_is_so() -> None:
    drawn = list(draw_collection(60))
    assert len({image.data for image in drawn}) == 60
    for image in drawn:
        decoded = decode_image(image.data, SMALL)
        assert (decoded.width, decoded.height, decoded.format) == (image.width, image.height, image.format)
    assert {image.format for image in drawn} == {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"}
    assert any(b"Exif" in image.data for image in drawn)


@pytest.mark.parametrize("name", [name for name, (data, _) in bad_files().items() if data is not None])
def test_bad_files_are_bad_for_the_reason_given(name: str) -> None:
    data, reason = bad_files()[name]
    assert data is not None
    with pytest.raises(ImageError) as raised:
        decode_image(data, SMALL)
    assert raised.value.error_class == reason


def test_each_image_is_listed_once_and_drawn_the_same_every_time(tmp_path: Path) -> None:
    first, second = (write_collection(str(tmp_path / name), 24) for name in "ab")
    assert len(first.rows) == 24
    assert list(first.rows.values()) == list(second.rows.values())
    assert set(first.letters.values()) >= {str(reason) for _, reason in bad_files().values()} | {
        ErrorClass.BAD_ROW,
        ErrorClass.DUPLICATE_ID,
    }
    manifests = [Path(inputs[0]).read_text().splitlines() for inputs in (first.inputs, first.reordered)]
    assert sorted(manifests[0]) == sorted(manifests[1])
    assert manifests[0] == manifests[1][::-1]

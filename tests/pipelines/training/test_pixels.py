from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.training import pixels
from pipelines.training.pixels import PixelOptions, list_references, listing_digest, read_pixels, usual_size
from tests.photographs import write_folder
from transforms.encoders.specification import Preprocessing
from transforms.errors import InputError, OptionError, TooManyFailuresError
from transforms.images.decode import decode_image
from transforms.sources.dialects import recognise, roots_of
from transforms.sources.split import SplitRatios

SIZE = Preprocessing(height=12, width=16)
RATIOS = SplitRatios(0.6, 0.2, 0.2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", per_label=10)


def listed(folder: Path):
    sources = recognise(str(folder))
    options = PixelOptions(preprocessing=SIZE, roots=roots_of(sources), split=RATIOS, threads=2)
    return sources, list_references(sources), options


def test_pixels_are_those_that_enter_a_network(folder: Path, tmp_path: Path) -> None:
    _, references, options = listed(folder)
    found = read_pixels(references, options, str(tmp_path))
    assert found.array.shape == (20, 12, 16, 3)
    for row, reference in enumerate(references):
        expected = decode_image(Path(reference.uri).read_bytes(), SIZE).pixels
        np.testing.assert_array_equal(found.array[row], expected)


def test_they_are_decoded_once(folder: Path, tmp_path: Path) -> None:
    _, references, options = listed(folder)
    before = read_pixels(references, options, str(tmp_path))
    shutil.rmtree(folder)
    again = read_pixels(references, options, str(tmp_path))
    np.testing.assert_array_equal(again.array, before.array)
    assert again.sha256 == before.sha256


def test_a_decoding_that_was_interrupted_begins_anew(folder: Path, tmp_path: Path) -> None:
    _, references, options = listed(folder)
    read_pixels(references, options, str(tmp_path))
    (tmp_path / "pixels.json").unlink()
    (tmp_path / "pixels.uint8").write_bytes(b"half")
    assert read_pixels(references, options, str(tmp_path)).array.any(axis=(1, 2, 3)).all()


def test_splits_are_those_of_embed(photos: Path, store: Path, tmp_path: Path) -> None:
    from transforms.store.catalog import open_table
    from transforms.store.read import iterate

    sources = recognise(str(photos))
    options = PixelOptions(preprocessing=SIZE, roots=roots_of(sources), split=RATIOS)
    found = read_pixels(list_references(sources), options, str(tmp_path))
    splits = found.splits(RATIOS, "photos")
    rows = [row for batch in iterate(open_table(str(store)), ["sha256", "split"]) for row in batch.to_pylist()]
    for name in ("train", "validation", "test"):
        examples = getattr(splits, name)
        chosen = examples.vectors[:, 0].astype(int)
        assert {found.sha256[row] for row in chosen} == {row["sha256"] for row in rows if row["split"] == name}
        labels = [splits.labels[target] for target in examples.targets]
        assert labels == [found.references[row].labels[0] for row in chosen]


def test_bad_images_are_set_aside_and_counted(folder: Path, tmp_path: Path) -> None:
    (folder / "disc" / "bad.jpg").write_bytes(b"no image")
    (folder / "disc" / "empty.jpg").write_bytes(b"")
    _, references, options = listed(folder)
    found = read_pixels(references, options, str(tmp_path))
    assert found.failures == {"UNSUPPORTED_FORMAT": 1, "EMPTY": 1}
    splits = found.splits(RATIOS, "pictures")
    assert sum(len(getattr(splits, name).targets) for name in ("train", "validation", "test")) == 20
    rows = pq.read_table(tmp_path / "errors.parquet").to_pylist()
    assert sorted(Path(row["image_uri"]).name for row in rows) == ["bad.jpg", "empty.jpg"]
    strict = dataclasses.replace(options, max_failures="1")
    with pytest.raises(
        TooManyFailuresError, match=r"2 of 22 images cannot be used, more than --max-failures 1; for exa"
    ):
        read_pixels(references, strict, str(tmp_path))


def test_an_image_that_is_listed_twice_counts_once(folder: Path) -> None:
    sources = recognise(str(folder))
    assert [r.uri for r in list_references([*sources, *sources])] == [r.uri for r in list_references(sources)]


def test_the_listing_is_told_by_its_content(folder: Path) -> None:
    _, references, _ = listed(folder)
    before = listing_digest(references)
    assert listing_digest(listed(folder)[1]) == before
    (folder / "disc" / "0000.jpg").rename(folder / "stripes" / "9999.jpg")
    assert listing_digest(listed(folder)[1]) != before


def test_the_usual_size_is_that_of_the_images(folder: Path, tmp_path: Path) -> None:
    sources, references, _ = listed(folder)
    assert usual_size(sources, references) == 72
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.jpg").write_bytes(b"nothing")
    sources = recognise(str(tmp_path / "broken"))
    with pytest.raises(InputError, match="no image can be read, for example"):
        usual_size(sources, list_references(sources))


def test_a_full_disk_is_noticed_before(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, references, options = listed(folder)
    monkeypatch.setattr(pixels.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(OptionError, match=r"20 images of 12x16 pixels take 0\.0 GB, and .* --work-dir"):
        read_pixels(references, options, str(tmp_path))

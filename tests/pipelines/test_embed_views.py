"""Augmented views in the store: of the training split only, incremental, and gone with their image."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import embed
from tests.flags import BEAM_FLAGS
from tests.photographs import LABELS, draw, encoded, write_folder
from transforms.encoders.engines import choose_engine
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.images.augment import Views
from transforms.images.decode import decode_image
from transforms.store import index
from transforms.store.catalog import open_table
from transforms.store.read import Features, read_features
from transforms.store.retract import Meant, retract
from transforms.store.verify import verify_table

VIEWS = ("--views", "2", "--augment", "texture")


class Photos:
    """A manifest of six pictures, four of them of the training split, and a store."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.store, self.capsys = write_folder(root / "photos", per_label=3), root / "store", capsys
        names = [f"{label}/000{n}.jpg" for label in LABELS for n in range(3)]
        self.rows = {name: [name[0], "test" if "2" in name else "train"] for name in names}

    def embed(self, *flags: object) -> dict[str, Any]:
        """Runs the command; returns its run record."""
        lines = [f"{name},{','.join(row)}" for name, row in self.rows.items()]
        manifest = self.root / "m.csv"
        manifest.write_text("\n".join(["uri,label,split", *lines, ""]))
        return self.run("--input", manifest, "--store", self.store, "--engine", "tensorflow", *flags)

    def run(self, *arguments: object, status: int = 0) -> dict[str, Any]:
        self.capsys.readouterr()
        assert embed.main([*map(str, arguments), "--json", *BEAM_FLAGS]) == status
        record: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        if "embedded" in record:
            assert record["listed"] == record["embedded"] + record["reused"] + record["failed"]
        return record

    def table(self) -> Features:
        return read_features(open_table(str(self.store)))

    def views(self) -> dict[str, list[int]]:
        """Returns the view ids of each image by the end of its address."""
        found = collections.defaultdict(list)
        table = self.table()
        for uri, view in zip(table.image_uris, table.view_ids.tolist(), strict=True):
            found["/".join(uri.rsplit("/", 2)[1:])].append(view)
        return {name: sorted(views) for name, views in found.items()}

    def expected(self, views: int) -> dict[str, list[int]]:
        return {name: list(range(1 + views if row[1] == "train" else 1)) for name, row in self.rows.items()}


@pytest.fixture
def photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Photos:
    return Photos(tmp_path, capsys)


def vectors(found: Features) -> dict[tuple[str, int], np.ndarray]:
    keys = zip(found.sha256, found.view_ids.tolist(), strict=True)
    return dict(zip(keys, found.embeddings, strict=True))


def test_views_of_the_training_split_are_rows_and_stay(photos: Photos) -> None:
    record = photos.embed(*VIEWS)
    key = Views(policy="texture").key
    assert (record["listed"], record["embedded"], record["reused"]) == (6, 6, 0)
    assert record["views"] == {"count": 2, "policy": "texture", "key": key, "seed": Views.SEED_RULE, "rows": 8}
    assert photos.views() == photos.expected(2)
    table = open_table(str(photos.store))
    assert table.views == Views(count=2, policy="texture")
    assert verify_table(table).problems == ()
    found = photos.table()
    assert [attributes.get("heliograph.views") for attributes in found.attributes] == [
        key if view else None for view in found.view_ids
    ]
    row = next(row for row, view in enumerate(found.view_ids) if view == 2)
    specification = choose_engine(resolve_encoder(), "tensorflow").specification
    pixels = decode_image(Path(found.image_uris[row]).read_bytes(), specification.preprocessing).pixels
    view = load_encoder(specification).encode(Views(policy="texture").make(pixels, 2)[None])[0]
    np.testing.assert_allclose(found.embeddings[row], view, atol=1e-3)
    files = {path: path.stat().st_mtime_ns for path in photos.store.glob("*/data/*")}
    for flags in (VIEWS, ()):  # the table keeps what was asked for
        again = photos.embed(*flags)
        assert (again["embedded"], again["reused"], again["plan"]["reused"]) == (0, 6, 6)
        assert again["table_version"] == record["table_version"]
    assert {path: path.stat().st_mtime_ns for path in photos.store.glob("*/data/*")} == files


def test_views_are_added_replaced_and_taken_out(photos: Photos) -> None:
    photos.embed()
    plain = vectors(photos.table())
    added = photos.embed(*VIEWS)
    assert (added["embedded"], added["reused"], added["plan"]["augmented"]) == (4, 2, 4)
    two = vectors(photos.table())
    assert {key: vector.tolist() for key, vector in two.items() if key in plain} == {
        key: vector.tolist() for key, vector in plain.items()
    }
    photos.embed("--views", "3")
    assert photos.views() == photos.expected(3)
    three = vectors(photos.table())
    assert all(three[key].tolist() == vector.tolist() for key, vector in two.items())
    fewer = photos.embed("--views", "1")
    assert (fewer["embedded"], fewer["reused"]) == (0, 6)
    assert photos.views() == photos.expected(1)
    photos.embed("--augment", "document")
    other = vectors(photos.table())
    assert photos.views() == photos.expected(1)
    assert all((other[key] == vector).all() == (key[1] == 0) for key, vector in three.items() if key in other)
    assert photos.embed("--views", "0")["embedded"] == 0
    assert vectors(photos.table()).keys() == plain.keys()
    assert verify_table(open_table(str(photos.store))).problems == ()


@pytest.mark.parametrize("rows_in_memory", [index.ROWS_IN_MEMORY, 0], ids=["in memory", "in files"])
def test_moved_images_and_copies_bring_their_views(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, rows_in_memory: int
) -> None:
    monkeypatch.setattr(index, "ROWS_IN_MEMORY", rows_in_memory)
    photos.embed(*VIEWS)
    before = vectors(photos.table())
    (photos.root / "disc" / "0000.jpg").rename(photos.root / "disc" / "renamed.jpg")
    photos.rows["disc/renamed.jpg"] = photos.rows.pop("disc/0000.jpg")
    (photos.root / "stripes" / "copy.jpg").write_bytes((photos.root / "stripes" / "0001.jpg").read_bytes())
    photos.rows["stripes/copy.jpg"] = ["s", "train"]
    record = photos.embed("--sync")
    assert (record["embedded"], record["copied"], record["retracted"], record["views"]["rows"]) == (0, 2, 1, 4)
    assert photos.views() == photos.expected(2)
    after = vectors(photos.table())
    assert all(after[key].tolist() == vector.tolist() for key, vector in before.items())


def test_views_follow_their_image(photos: Photos) -> None:
    photos.embed(*VIEWS)
    photos.rows["disc/0000.jpg"] = ["other", "train"]
    photos.rows["disc/0001.jpg"] = ["d", "validation"]
    photos.rows["stripes/0002.jpg"] = ["s", "train"]
    (photos.root / "stripes" / "0000.jpg").write_bytes(encoded(draw("stripes", 99)))
    before = vectors(photos.table())
    record = photos.embed()
    assert (record["plan"]["relabelled"], record["plan"]["changed"], record["plan"]["reused"]) == (3, 1, 2)
    assert (record["embedded"], record["copied"]) == (2, 2)
    assert photos.views() == photos.expected(2)
    found = photos.table()
    assert [labels for uri, labels in zip(found.image_uris, found.labels, strict=True) if "disc/0000" in uri] == [
        ("other",)
    ] * 3
    changed = [digest for uri, digest in zip(found.image_uris, found.sha256, strict=True) if "stripes/0000" in uri]
    assert len(changed) == 3
    assert not set(changed) & {digest for digest, _ in before}
    retracted = retract(open_table(str(photos.store)), "r", Meant(image_uris=[found.image_uris[0]]))
    assert len(retracted.image_ids) == 1
    assert retracted.rows == found.image_uris.count(found.image_uris[0])
    assert found.image_uris[0] not in photos.table().image_uris


def test_a_policy_without_views_is_refused(photos: Photos) -> None:
    assert embed.main(["--input", str(photos.root), "--store", str(photos.store), "--augment", "texture"]) == 2
    assert "--views 4" in photos.capsys.readouterr().err

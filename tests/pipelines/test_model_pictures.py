from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import models
from tests.commands import Run, runner
from tests.photographs import LABELS
from tests.transforms.model.builders import linear_head, write_version
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.images.decode import decode_image
from transforms.model.directory import ModelDirectory


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(models.main, capsys)


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head on a network of one's own: pixels to a model within a model, then pooling and a dense layer."""
    import keras

    root = tmp_path_factory.mktemp("nested")
    keras.utils.set_random_seed(1)
    inner = keras.Input((12, 12, 3))
    maps = keras.layers.ReLU(name="edges_relu")(keras.layers.Conv2D(8, 3, name="edges")(inner))
    backbone = keras.Model(inner, keras.layers.Conv2D(4, 3, name="parts")(maps), name="backbone")
    outer = keras.Input((12, 12, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pooled")(
        backbone(keras.layers.Rescaling(1 / 127.5, -1.0, name="rescale")(outer))
    )
    keras.Model(outer, keras.layers.Dense(3)(keras.layers.Flatten()(pooled))).save(root / "own.keras")
    encoder = resolve_encoder(str(root / "own.keras"))
    head = linear_head(labels=LABELS, mean=np.zeros(3, np.float32), std=np.full(3, 0.1, np.float32))
    return write_version(root / "model" / "1", head, encoder=encoder.to_json(), encoder_fingerprint=encoder.fingerprint)


def test_the_layers_are_listed(nested: Path, run: Run) -> None:
    status, out, err = run("pictures", nested)
    assert status == 0, err
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["rescale", "Rescaling", "3", "12", "x", "12"],
        ["edges", "Conv2D", "8", "10", "x", "10", "drawn", "by", "default"],
        ["edges_relu", "ReLU", "8", "10", "x", "10", "drawn", "by", "default"],
        ["parts", "Conv2D", "4", "8", "x", "8", "drawn", "by", "default"],
        ["pooled", "GlobalAveragePooling2D", "4", "1", "x", "1"],
    ]


def test_chosen_layers_of_chosen_images_are_drawn(nested: Path, photos: Path, tmp_path: Path, run: Run) -> None:
    disc, stripes = photos / "disc" / "0003.jpg", photos / "stripes" / "0004.jpg"
    (tmp_path / "few").mkdir()
    for path in (disc, stripes):
        (tmp_path / "few" / f"{path.parent.name}.jpg").write_bytes(path.read_bytes())
    (tmp_path / "few" / "broken.jpg").write_bytes(b"nothing")
    words = ("--input", tmp_path / "few", "--output", tmp_path / "out", "--layers", "parts,rescale", "--json")
    status, out, err = run("pictures", nested, *words)
    assert status == 0, err
    assert "1 of 3 cannot be used: left out" in err
    record = json.loads(out)
    maps = {f"maps_{place}_{layer}.png" for place in (0, 1) for layer in ("parts", "rescale")}
    assert set(record["files"]) == {"filters.png", "heat_0.png", "heat_1.png", *maps}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*record["files"], "report.html"}
    assert record["files"]["maps_1_parts.png"] == "stripes.jpg: maps of parts"
    model = ModelDirectory.open(str(nested))
    pixels = [decode_image(path.read_bytes(), model.encoder.preprocessing).pixels for path in (disc, stripes)]
    probabilities = model.head.probabilities(load_encoder(model.encoder).encode(np.stack(pixels)))
    for place, (name, row) in enumerate(zip(("disc", "stripes"), probabilities, strict=True)):
        said = f"{name}.jpg: most likely {LABELS[row.argmax()]} ({row.max():.2f})"
        assert record["files"][f"heat_{place}.png"] == said
        shown = np.asarray(Image.open(tmp_path / "out" / f"heat_{place}.png"))
        np.testing.assert_array_equal(shown[9:216:18, 9:216:18], pixels[place])
        assert np.ptp(shown[:, 216:, 0].astype(int) - shown[:, 216:, 2]) > 20, "some of it is warm"
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/png") == len(record["files"])
    assert "stripes.jpg: maps of rescale" in page


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--layers", "edges_rel", "--input", "PHOTO", "--output", "out"], 2, "perhaps edges_relu, edges? `heliograph"),
        (["--layers", "Dense"], 2, "no layer 'Dense' has feature maps"),
        (["--layers", ",".join("abcdefghijk")], 2, "--layers names 11 layers; 10 at most"),
        (["--input", "PHOTO"], 2, "--input and --output go together"),
        (["--output", "out"], 2, "--input and --output go together"),
        (["--input", "BROKEN", "--output", "out"], 1, "1 of 1 images cannot be used"),
    ],
)
def test_mistakes_end_with_one_line(
    nested: Path, photos: Path, tmp_path: Path, run: Run, words: list[str], status: int, message: str
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    places = {"PHOTO": photos / "disc" / "0003.jpg", "BROKEN": tmp_path / "broken.jpg", "out": tmp_path / "out"}
    found, _, err = run("pictures", nested, *(places.get(word, word) for word in words))
    assert found == status
    assert message in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_saved_model_is_refused(tmp_path: Path, run: Run) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "saved_model.pb").write_bytes(b"graph")
    model = write_version(tmp_path / "model" / "1")
    fields = json.loads((model / "model.json").read_text())
    fields["encoder"]["source"] = str(tmp_path / "hub")
    (model / "model.json").write_text(json.dumps(fields))
    status, _, err = run("pictures", model)
    assert status == 2
    assert "is a SavedModel, whose layers cannot be told, so there are no pictures of it" in err

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.report.sections.network import network
from pipelines.training.batches import Batches
from pipelines.training.classifier import with_new_head
from pipelines.training.cnn_settings import CnnSettings
from pipelines.training.features import Examples
from pipelines.training.fit_network import fit_network
from pipelines.training.network_files import draw_examples, write_events, write_pictures
from pipelines.training.network_pictures import Looker, sheet
from pipelines.training.network_settings import NetworkSettings
from pipelines.training.networks import build_cnn, open_trainable
from pipelines.training.pixels import Pixels
from tests.pipelines.training.builders import save_tiny_encoder
from transforms.encoders.resolve import resolve_encoder


def spot_pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey noise; every other picture has a bright spot on its left or right, 24×24 pixels."""
    random = np.random.default_rng(0)
    array = random.integers(90, 130, (count, 24, 24, 3), dtype=np.uint8)
    targets = (np.arange(count) % 2).astype(np.int32)
    for place in np.flatnonzero(targets):
        top, left = random.integers(2, 16), 2 if place % 4 == 1 else 16
        array[place, top : top + 6, left : left + 6] = 255
    return array, targets


def examples(rows: range, targets: np.ndarray) -> Examples:
    return Examples(vectors=np.array(rows, np.float32)[:, None], targets=targets[rows.start : rows.stop])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    array, targets = spot_pictures(120)
    settings = NetworkSettings(learning_rate=0.005, train_epochs=8, augment="none", dropout_rate=0.0, batch_size=16)
    encoder = build_cnn(24, 24, CnnSettings(depth=2, filters=8, hidden_units=(16,)), 0.0, 0)
    classifier = with_new_head(encoder, ("plain", "spot"), "softmax", 0.0, 0)
    batches = Batches(array=array, size=16, augment="none", seed=0, threads=2)
    weights = np.ones(2, np.float32)
    directory = str(tmp_path_factory.mktemp("fit"))
    validation = examples(range(80, 120), targets)
    history = fit_network(classifier, batches, examples(range(80), targets), validation, weights, settings, directory)
    assert history[-1].validation_accuracy == 1.0
    return classifier, array, validation, history


def test_the_heat_lies_where_the_spot_is(trained) -> None:
    classifier, array, *_ = trained
    looker = Looker(classifier, (24, 24, 3))
    sides = []
    for row in range(81, 119, 2):
        seen = looker.look(array[row], looker.usual)
        assert seen is not None
        assert seen.predicted == 1
        assert seen.heat.shape == (9 * 24, 2 * 9 * 24, 3)
        warmth = seen.heat[..., 0].astype(int) - seen.heat[..., 2]
        left, right = warmth[:, 216:324].sum(), warmth[:, 324:].sum()
        sides.append((left > right) == (row % 4 == 1))
    assert np.mean(sides) > 0.9
    assert set(seen.maps) == {"block1_conv", "block2_conv", "block2_relu"}


def test_filters_of_a_network_that_takes_bgr_are_shown_in_rgb(tmp_path: Path) -> None:
    plain = resolve_encoder(save_tiny_encoder(tmp_path / "tiny.keras"), pixel_range=(-1, 1))
    bgr = open_trainable(dataclasses.replace(plain, channel_order="BGR"))
    tuned = open_trainable(resolve_encoder(bgr.save(str(tmp_path))))
    rgb, *swapped = (
        Looker(with_new_head(encoder, ("a", "b"), "softmax", 0.0, 0), (8, 8, 3)).filters()
        for encoder in (open_trainable(plain), bgr, tuned)
    )
    for sheet_of_filters in swapped:
        np.testing.assert_array_equal(sheet_of_filters[..., ::-1], rgb)
    assert (rgb[..., ::-1] != rgb).any()


def test_the_maps_are_what_the_chosen_layer_gives(trained) -> None:
    import keras

    classifier, array, *_ = trained
    looker = Looker(classifier, (24, 24, 3))
    assert list(looker.shapes) == [
        "rescale",
        *(f"block{n}_{kind}" for n in (1, 2) for kind in ("conv", "relu", "pool")),
    ]
    seen = looker.look(array[1], ["block1_relu"])
    assert seen is not None
    encoder = classifier.encoder.model
    found = np.asarray(keras.Model(encoder.inputs, encoder.get_layer("block1_relu").output)([array[1:2]]))[0]
    strongest = found[..., np.abs(found).mean(axis=(0, 1)).argmax()]
    tile = seen.maps["block1_relu"][5:76:3, 5:76:3, 0]
    np.testing.assert_allclose(tile, (strongest - strongest.min()) / np.ptp(strongest) * 255, atol=1)
    np.testing.assert_allclose(seen.vector, np.asarray(encoder(array[1:2]))[0], rtol=1e-5)


def test_pictures_are_drawn_and_written(trained, tmp_path: Path) -> None:
    classifier, array, validation, _ = trained
    pixels = Pixels(array=array, references=(), sha256=(), failures={})
    pictures = draw_examples(classifier, dataclasses.replace(classifier.head(), temperature=2.0), pixels, validation)
    write_pictures(pictures, str(tmp_path))
    names = {path.name for path in tmp_path.iterdir()}
    assert {"filters.png", "heat_0.png", "heat_1.png", "maps_0_block1_conv.png"} <= names
    assert Image.open(tmp_path / "heat_1.png").size == (432, 216)
    section = network(pictures, "validation images")
    assert section is not None
    logits = np.asarray(classifier.logits(array[80:82], False))
    sure = np.exp(logits / 2).max(axis=1) / np.exp(logits / 2).sum(axis=1)
    said = [f"plain: most likely plain ({sure[0]:.2f})", f"spot: most likely spot ({sure[1]:.2f})"]
    assert [text for text, _ in section.data["heat"]] == said
    assert sum(len(section.data[kind]) for kind in ("heat", "filters", "maps")) == len(names)


def test_events_are_the_curves(trained, tmp_path: Path) -> None:
    import tensorflow as tf

    *_, history = trained
    write_events(history, str(tmp_path))
    (events,) = (tmp_path / "validation").iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(events)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    for epoch in history:
        assert found["epoch_loss", epoch.epoch] == pytest.approx(epoch.validation_loss)
        assert found["epoch_accuracy", epoch.epoch] == pytest.approx(epoch.validation_accuracy)


def test_a_sheet_has_a_tile_each() -> None:
    page = sheet([np.full((3, 3), value, np.uint8) for value in range(0, 250, 25)])
    assert page.shape == (2 * 76 + 4, 8 * 76 + 4, 3)
    assert page[40, 40].tolist() == [0, 0, 0]
    assert page[40, 116].tolist() == [25, 25, 25]
    assert page[116, 116].tolist() == [225, 225, 225]

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np
import pytest

from pipelines.training import label_errors
from pipelines.training.features import Examples
from pipelines.training.fit_head import fit_head
from pipelines.training.fit_settings import FitSettings
from pipelines.training.label_errors import PAGE, TABLE, find_label_errors
from tests.pipelines.training.builders import clouds, features
from transforms.errors import OptionError
from transforms.store.read import Features

NAMES = ("boot", "coat", "=dress")
SETTINGS = FitSettings(l2_regularizer=0.003, train_epochs=15)
PLANTED = 24


def collection() -> tuple[dict[str, Features], set[str]]:
    """600 images of three classes that overlap a little, of which 24 in all splits have another's label."""
    vectors, targets = clouds(600, 3, seed=1, distance=6.0)
    labels = [(NAMES[target],) for target in targets]
    planted = np.random.default_rng(2).choice(600, PLANTED, replace=False)
    for row in planted:
        labels[row] = (NAMES[(targets[row] + 1) % 3],)
    found = {}
    for split, rows in (("train", slice(400)), ("validation", slice(400, 480)), ("test", slice(480, 600))):
        part = features(vectors[rows], labels[rows], contents=[f"image{row}" for row in range(600)[rows]])
        uris = [f"/images/{row}.jpg" for row in range(600)[rows]]
        found[split] = dataclasses.replace(part, image_uris=uris)
    return found, {f"/images/{row}.jpg" for row in planted}


def test_planted_wrong_labels_are_found_and_ranked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_errors, "LABEL_FOLDS", 3)  # each head takes a second
    found, planted = collection()
    train, validation = (
        Examples(
            vectors=found[split].embeddings,
            targets=np.array([NAMES.index(names[0]) for names in found[split].labels], np.int32),
        )
        for split in ("train", "validation")
    )
    fit = fit_head(train, validation, NAMES, SETTINGS)
    errors = find_label_errors(found, SETTINGS, fit)
    uris = [found[suspect.split].image_uris[suspect.row] for suspect in errors.suspects]
    assert errors.judged == 600
    assert len(planted & set(uris)) / PLANTED >= 0.7  # recall; guessing would have 0.04
    assert len(planted & set(uris)) / len(uris) >= 0.85  # precision
    assert len(planted & set(uris[:12])) >= 11  # and of the first ones nearly all
    assert {suspect.split for suspect in errors.suspects} == {"train", "validation", "test"}
    margins = [suspect.suggested_confidence - suspect.confidence for suspect in errors.suspects]
    assert margins == sorted(margins, reverse=True)
    assert errors.metrics()["suspected"] == len(uris)
    assert sum(pair["images"] for pair in errors.metrics()["pairs"]) == len(uris)

    files = errors.files()
    rows = list(csv.DictReader(io.StringIO(files[TABLE].decode())))
    assert [row["image_uri"] for row in rows] == uris
    assert {row["label"] for row in rows} <= {"boot", "coat", "'=dress"}  # no formula
    assert "Labels that are probably wrong" in files[PAGE].decode()
    assert "<script" not in files[PAGE].decode()

    several = {**found, "test": dataclasses.replace(found["test"], labels=[("boot", "coat")] * 120)}
    with pytest.raises(OptionError, match="--label-errors judges one label an image"):
        find_label_errors(several, SETTINGS, fit)

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from pipelines.training.curve_figure import curve_markdown, curve_svg
from pipelines.training.features import Examples, split_features
from pipelines.training.fit_settings import MANY_RATE, FitSettings
from pipelines.training.learning_curve import REPEATS, SHARES, learning_curve, subset_masks
from tests.pipelines.training.builders import clouds, features


def splits_of(sizes: tuple[int, int, int], dimension: int = 20):
    parts = {}
    for seed, (name, size) in enumerate(zip(("train", "validation", "test"), sizes, strict=True)):
        vectors, targets = clouds(max(size, 1), 3, seed=seed, distance=1.5, dimension=dimension)
        parts[name] = features(vectors[:size], [["abc"[target]] for target in targets[:size]])
    return split_features(parts, "TABLE")


def test_subsets_are_stratified_grouped_and_nested() -> None:
    targets = np.array([0] * 80 + [1] * 40, np.int32)
    keys = [f"{row // 4}" for row in range(120)]
    masks, shares = subset_masks(Examples(vectors=np.zeros((120, 1), np.float32), targets=targets), keys, seed=0)
    assert masks.shape == (120, 3 * REPEATS + 1)
    assert masks[:, -1].all()
    for column, share in enumerate(shares):
        for first, last in ((0, 80), (80, 120)):
            assert masks[first:last, column].mean() == pytest.approx(share, abs=0.11)
        grouped = masks[:, column].reshape(30, 4)
        assert (grouped.all(axis=1) == grouped.any(axis=1)).all(), "rows of a group stay together"
    assert (masks[:, 0] <= masks[:, 1]).all()
    assert (masks[:, 1] <= masks[:, 2]).all()
    assert not (masks[:, 0] == masks[:, 3]).all(), "another repeat draws other rows"


def test_more_labels_help_and_intervals_say_how_sure_that_is() -> None:
    splits = splits_of((300, 90, 300))
    curve = learning_curve(splits, splits.validation, FitSettings(learning_rate=0.01, train_epochs=20))
    assert (curve["split"], curve["images"]) == ("test", 300)
    assert [point["share"] for point in curve["points"]] == list(SHARES)
    assert [point["images"] for point in curve["points"]] == pytest.approx([30, 75, 150, 300], abs=3)
    accuracies = [point["accuracy"] for point in curve["points"]]
    assert accuracies[-1] > accuracies[0] + 0.05
    for point in curve["points"]:
        assert point["interval"][0] < point["accuracy"] < point["interval"][1]
        assert np.mean(point["recall"]) == pytest.approx(point["accuracy"], abs=0.01)
    assert [entry["name"] for entry in curve["classes"]] == ["a", "b", "c"]
    for index, entry in enumerate(curve["classes"]):
        recalls = [point["recall"][index] for point in curve["points"]]
        assert entry["gain"] == pytest.approx(recalls[-1] - recalls[-2], abs=1e-3)
        assert entry["interval"][0] < entry["gain"] < entry["interval"][1]


def test_heads_of_the_curve_begin_with_the_rate_of_the_model_s() -> None:
    splits = splits_of((300, 90, 300))
    curves = [
        learning_curve(splits, splits.validation, FitSettings(learning_rate_schedule="anneal", learning_rate=rate))
        for rate in (None, MANY_RATE)
    ]
    assert curves[0] == curves[1]


def test_without_a_test_split_validation_is_measured_on_and_the_figure_is_a_picture() -> None:
    splits = splits_of((90, 60, 0))
    settings = FitSettings(l2_regularizer=0.01, hidden_units=(4,), dropout_rate=0.1, train_epochs=4)
    curve = learning_curve(splits, splits.validation, settings)
    assert curve["split"] == "validation"
    root = ElementTree.fromstring(curve_svg(curve))
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 4
    text = curve_markdown(curve)
    assert "(learning_curve.svg)" in text
    assert text.count("\n| ") == 2 + 4 + 3

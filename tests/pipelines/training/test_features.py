from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.training.features import fold_numbers, hold_out, read_splits, split_features
from tests.pipelines.training.builders import features, make_table
from transforms.errors import StoreError

NONE = features(np.zeros((0, 2), np.float32), [])


def vectors(count: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + 2 * count, dtype=np.float32).reshape(count, 2)


def split(train=NONE, validation=NONE, test=NONE):
    return split_features({"train": train, "validation": validation, "test": test}, "TABLE")


def test_labels_become_integers_in_the_order_of_their_names() -> None:
    splits = split(
        features(vectors(3), [["dog"], ["cat"], ["dog"]]),
        features(vectors(2, 10), [["dog"], ["cat"]]),
        features(vectors(1, 20), [["cat"]]),
    )
    assert splits.labels == ("cat", "dog")
    assert splits.train.targets.tolist() == [1, 0, 1]
    assert splits.validation.targets.tolist() == [1, 0]
    assert splits.test.targets.tolist() == [0]
    assert splits.train.targets.dtype == np.int32
    assert splits.validation.vectors.tolist() == [[10, 11], [12, 13]]
    assert (splits.held_out, splits.foreign_labels) == (False, ())
    assert splits.warnings == ("the test split has no image of 'dog'",)


def test_images_without_a_label_are_left_out_with_a_warning() -> None:
    splits = split(
        features(vectors(4), [["a"], [], ["b"], []]), features(vectors(2), [["a"], ["b"]]), features(vectors(1), [[]])
    )
    assert splits.train.vectors.tolist() == [[0, 1], [4, 5]]
    assert len(splits.folds) == 2
    assert splits.test.targets.size == 0
    assert splits.warnings == (
        "2 of 4 images of the train split have no label and are left out",
        "1 of 1 images of the test split have no label and are left out",
    )


def test_a_class_outside_training_is_counted_as_wrong_and_told() -> None:
    splits = split(
        features(vectors(2), [["a"], ["c"]]),
        features(vectors(2, 4), [["a"], ["c"]]),
        features(vectors(4, 20), [["b"], ["a"], ["z"], ["c"]]),
    )
    assert splits.labels == ("a", "c")
    assert splits.foreign_labels == ("b", "z")
    assert splits.test.targets.tolist() == [2, 0, 3, 1]
    assert splits.test.known(2).targets.tolist() == [0, 1]
    assert splits.test.known(2).vectors.tolist() == [[22, 23], [26, 27]]
    assert splits.warnings == (
        "2 images of the test split are of 'b', 'z', which no training image is; they count as wrong",
    )


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (NONE, "TABLE has no labelled image"),
        (features(vectors(2), [[], []]), "TABLE has no labelled image"),
        (features(vectors(2), [["a"], ["a"]]), "TABLE has one class only, 'a'; a head needs two or more"),
        (features(vectors(2) * np.nan, [["a"], ["b"]]), "vectors of the train split have NaN or infinity"),
        (features(vectors(2), [["a"], ["b"]]), "too few training images to hold some out"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(train, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        split(train)
    assert "\n" not in str(caught.value)


def test_an_empty_training_split_is_told_apart_from_no_labels() -> None:
    with pytest.raises(StoreError, match="the training split of TABLE is empty"):
        split(NONE, features(vectors(2), [["a"], ["b"]]))


def test_without_a_validation_split_a_share_of_each_class_is_held_out() -> None:
    labels = [["a"]] * 60 + [["b"]] * 20
    splits = split(features(vectors(80), labels))
    assert np.bincount(splits.validation.targets).tolist() == [9, 3]
    assert np.bincount(splits.train.targets).tolist() == [51, 17]
    rows = np.concatenate([splits.train.vectors, splits.validation.vectors])
    assert sorted(rows[:, 0].tolist()) == vectors(80)[:, 0].tolist(), "each image is in one of the two"
    assert splits.held_out
    assert splits.warnings == ("the table has no validation split: 12 of 80 training images are held out for it",)
    again = split(features(vectors(80), labels))
    assert np.array_equal(again.validation.vectors, splits.validation.vectors)


def test_what_is_held_out_follows_content_not_order() -> None:
    targets, keys = np.array([0, 1] * 20, np.int32), [f"k{number}" for number in range(40)]
    chosen = {key for key, held in zip(keys, hold_out(targets, keys), strict=True) if held}
    backwards = hold_out(targets[::-1], keys[::-1])
    assert {key for key, held in zip(keys[::-1], backwards, strict=True) if held} == chosen
    assert len(chosen) == 6


def test_a_group_is_never_torn_apart() -> None:
    targets = np.zeros(60, np.int32)
    keys = [f"group {number // 3}" for number in range(60)]
    for chosen in (hold_out(targets, keys), fold_numbers(targets, keys)):
        assert len(set(zip(keys, chosen.tolist(), strict=True))) == 20


def test_a_class_of_one_image_stays_in_training() -> None:
    mask = hold_out(np.array([0] * 10 + [1], np.int32), [str(number) for number in range(11)])
    assert mask.sum() == 2
    assert not mask[10]


def test_folds_have_equal_shares_of_each_class() -> None:
    targets = np.array([0] * 50 + [1] * 10 + [2, 3], np.int32)
    folds = fold_numbers(targets, [str(number) for number in range(62)])
    assert [np.bincount(folds[targets == target], minlength=5).tolist() for target in (0, 1)] == [[10] * 5, [2] * 5]
    assert folds[targets == 2] != folds[targets == 3], "rare classes spread over the folds"


def test_a_table_is_read_by_split_and_augmented_views_only_train(tmp_path: Path) -> None:
    table = make_table(
        tmp_path,
        vectors(8),
        [["a"], ["a"], ["b"], ["b"], ["a"], ["b"], ["b"], ["a"]],
        ["train", "train", "train", "train", "validation", "validation", "validation", "test"],
        views=[0, 1, 0, 1, 0, 0, 1, 0],
    )
    splits = read_splits(table)
    assert sorted(splits.train.vectors[:, 0].tolist()) == [0, 2, 4, 6]
    assert sorted(splits.validation.vectors[:, 0].tolist()) == [8, 10]
    assert splits.test.vectors.tolist() == [[14, 15]]
    assert sorted(splits.train.targets.tolist()) == [0, 0, 1, 1]


def test_who_is_held_out_is_measured_without_views_and_no_fold_parts_an_image_from_them(tmp_path: Path) -> None:
    labels = [["a"], ["b"]] * 30
    table = make_table(
        tmp_path, vectors(180), [label for label in labels for _ in range(3)], ["train"] * 180, views=[0, 1, 2] * 60
    )
    splits = read_splits(table)
    held = splits.validation.vectors[:, 0] // 2
    assert splits.held_out
    assert len(held) == 8
    assert (held % 3 == 0).all()
    learned = splits.train.vectors[:, 0] // 2
    assert sorted(learned // 3) == sorted(np.repeat(np.setdiff1d(np.arange(60), held // 3), 3))
    assert all(len(set(splits.folds[learned // 3 == image])) == 1 for image in set(learned // 3))


def test_one_picture_with_two_labels_is_told() -> None:
    twice = features(vectors(3), [["cat"], ["dog"], ["dog"]], contents=["a", "a", "b"])
    splits = split(twice, features(vectors(2, 10), [["cat"], ["dog"]], contents=["b", "c"]))
    (told,) = [warning for warning in splits.warnings if "picture" in warning]
    assert told.startswith("2 times the same picture has different labels, for example /images/0.png (cat) and")

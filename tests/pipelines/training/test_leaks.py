from __future__ import annotations

import argparse
import dataclasses
import html
from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.training.leak_report import PAGE, TABLE, guard
from pipelines.training.leaks import (
    CHECK,
    FIX,
    OFF,
    LeakSettings,
    add_leak_arguments,
    find_leaks,
    fix_leaks,
    leak_arguments,
    leak_settings,
)
from tests.pipelines.training.builders import features
from transforms.errors import OptionError, StoreError
from transforms.store.read import Features

SIZES = {"train": 120, "validation": 30, "test": 40}


def collection() -> dict[str, Features]:
    """Three splits without duplicates, 64 numbers an image, labelled a and b in turn."""
    generator, found = np.random.default_rng(0), {}
    for split, count in SIZES.items():
        part = features(
            generator.normal(size=(count, 64)).astype(np.float32),
            [("ab"[row % 2],) for row in range(count)],
            contents=[f"{split}{row}" for row in range(count)],
        )
        uris = [f"/images/{split}{row}.jpg" for row in range(count)]
        found[split] = dataclasses.replace(part, image_uris=uris, view_ids=np.zeros(count, np.int32))
    return found


def near(vectors: np.ndarray, seed: int = 1) -> np.ndarray:
    """Vectors at a cosine of about 0.995."""
    return vectors + np.random.default_rng(seed).normal(size=vectors.shape).astype(np.float32) * 0.1


def pairs(found: dict[str, Features], threshold: float = 0.985) -> list[tuple[str, int, str, int, bool]]:
    return [(leak[0], leak[1], leak[2], leak[3], leak.exact) for leak in find_leaks(found, threshold)]


def test_unrelated_images_are_no_duplicates_and_planted_ones_are_found() -> None:
    found = collection()
    assert pairs(found) == []
    found["test"].embeddings[3] = near(found["train"].embeddings[7])
    found["validation"].embeddings[5] = found["train"].embeddings[8]
    found["validation"].sha256[5] = found["train"].sha256[8]
    found["test"].embeddings[4] = near(found["validation"].embeddings[6])
    assert pairs(found)[0] == ("validation", 5, "train", 8, True)
    assert sorted(pairs(found)[1:]) == [("test", 3, "train", 7, False), ("test", 4, "validation", 6, False)]
    assert pairs(found, threshold=0.9999) == [("validation", 5, "train", 8, True)]


def test_the_same_content_counts_even_when_vectors_are_too_short_to_compare() -> None:
    found = collection()
    found = {split: dataclasses.replace(part, embeddings=part.embeddings[:, :8]) for split, part in found.items()}
    found["test"].embeddings[3] = near(found["train"].embeddings[7])
    found["test"].sha256[1] = found["train"].sha256[2]
    assert pairs(found) == [("test", 1, "train", 2, True)]


def test_unlabelled_images_and_views_do_not_count() -> None:
    found = collection()
    for row in range(3):
        found["test"].embeddings[row] = found["train"].embeddings[row]
    found["test"].labels[0] = ()
    found["train"].labels[1] = ()
    found["train"].view_ids[2] = 1
    assert pairs(found) == []


def labels_of(found: dict[str, Features], split: str) -> list[str]:
    return [uri.split("/")[-1].removesuffix(".jpg") for uri in found[split].image_uris]


def test_fixing_moves_chains_and_groups_to_the_earlier_split_and_leaves_none() -> None:
    found = collection()
    found["test"].embeddings[3] = near(found["train"].embeddings[7])
    found["validation"].embeddings[9] = near(found["test"].embeddings[3], seed=2)  # a duplicate of the duplicate
    found["test"].embeddings[20] = near(found["validation"].embeddings[2])
    found["test"].groups[3] = found["test"].groups[30] = "patient"  # of which only the first is a duplicate
    fixed, moved = fix_leaks(found, 0.985, "store")
    assert labels_of(fixed, "train")[120:] == ["validation9", "test3", "test30"]
    assert labels_of(fixed, "validation")[-1] == "test20"
    assert moved == 4
    assert sum(len(part.embeddings) for part in fixed.values()) == sum(SIZES.values())
    assert find_leaks(fixed, 0.985) == []
    for part in fixed.values():  # every column moved along
        for uri, content, name in zip(part.image_uris, part.sha256, part.labels, strict=True):
            assert uri == f"/images/{content}.jpg"
            assert name == ("ab"[int(content.strip("abcdefghijklmnopqrstuvwxyz")) % 2],)
    assert fixed["train"].embeddings[121] == pytest.approx(found["test"].embeddings[3])


def test_a_test_split_that_would_be_empty_is_refused() -> None:
    found = collection()
    found["test"].embeddings[:] = found["train"].embeddings[:40]
    with pytest.raises(StoreError, match=r"every image of the test split has a duplicate .* raise --leak-threshold"):
        fix_leaks(found, 0.985, "store")


def test_the_report_has_a_table_and_a_page_where_nothing_becomes_markup_or_a_formula() -> None:
    found = collection()
    found["test"].embeddings[3] = near(found["train"].embeddings[8])
    found["test"].labels[3] = ("=1+<script>alert(1)</script>",)
    guarded = guard(found, LeakSettings(), "store")
    assert guarded.warnings == (
        "1 of 40 test images are in another split too, or nearly (cosine 0.985; 0 exactly), which makes accuracies "
        "too good: see leaks.html in the model, and --fix-leaks",
    )
    files = guarded.files()
    header, line = files[TABLE].decode().splitlines()
    assert header == "split,image_uri,labels,twin_split,twin_uri,twin_labels,cosine,exact"
    assert line.startswith("test,/images/test3.jpg,'=1+<script>alert(1)</script>,train,/images/train8.jpg,a,0.99")
    page = files[PAGE].decode()
    assert "<script" not in page
    assert "labelled =1+&lt;script&gt;" in page
    assert "script-src 'none'" in html.unescape(page)
    assert page.count("cannot be shown") == 2
    assert guard(collection(), LeakSettings(), "store").files() == {}
    assert guard(found, LeakSettings(action=OFF), "store").warnings == ()


def settings_of(*argv: str) -> LeakSettings:
    parser = argparse.ArgumentParser()
    add_leak_arguments(parser)
    return leak_settings(parser.parse_args(argv))


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], LeakSettings(action=CHECK, threshold=0.985)),
        (["--fix-leaks", "--leak-threshold", "0.99"], LeakSettings(action=FIX, threshold=0.99)),
        (["--no-leak-check"], LeakSettings(action=OFF)),
    ],
)
def test_flags_become_settings_and_back(argv: Sequence[str], expected: LeakSettings) -> None:
    assert settings_of(*argv) == expected
    assert leak_arguments(expected) == list(argv)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--no-leak-check", "--fix-leaks"], "so --fix-leaks has no effect; leave one of them out"),
        (["--no-leak-check", "--leak-threshold", "0.9"], "so --leak-threshold has no effect"),
        (["--leak-threshold", "98"], r"must be in \[0\.5, 1\], such as 0\.985, got 98"),
        (["--leak-threshold", "nan"], "got nan"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(argv: Sequence[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        settings_of(*argv)

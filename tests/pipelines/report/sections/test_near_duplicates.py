from __future__ import annotations

import numpy as np

from pipelines.report.sections.near_duplicates import find_pairs, near_duplicates


def test_every_pair_is_found_and_contradicting_labels_are_told() -> None:
    vectors = np.random.default_rng(0).normal(size=(37, 48)).astype(np.float32)
    planted = [(0, 1), (2, 36), (17, 30)]
    for first, second in planted:
        vectors[second] = vectors[first] * 1.001
    pairs = find_pairs(vectors)
    assert sorted((pair.first, pair.second) for pair in pairs) == planted
    assert all(pair.cosine > 0.999 for pair in pairs)
    labels = ["cat"] * 36 + ["dog"]
    section = near_duplicates(pairs, [f"/{row}" for row in range(37)], labels, ["train"] * 37, 37)
    assert section is not None
    assert [entry["doubt"] for entry in section.data["entries"]].count("labelled cat and dog") == 1
    assert set(section.images) == {f"/{row}" for pair in planted for row in pair}


def test_short_vectors_and_single_images_have_no_pairs() -> None:
    assert find_pairs(np.ones((9, 4), np.float32)) == []
    assert find_pairs(np.ones((1, 64), np.float32)) == []
    assert near_duplicates([], [], [], [], 0) is None

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.training.checkpoint import load_checkpoint, save_checkpoint


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7), *[np.array([place]) for place in range(12)]]
    save_checkpoint(str(tmp_path), {"epoch": 3, "best": float("inf"), "words": "ä"}, {"state": arrays, "best": []})
    fields, groups = load_checkpoint(str(tmp_path)) or ({}, {})
    assert fields == {"epoch": 3, "best": float("inf"), "words": "ä"}
    assert set(groups) == {"state"}
    for found, array in zip(groups["state"], arrays, strict=True):
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype


def test_nothing_or_something_broken_is_no_checkpoint(tmp_path: Path) -> None:
    assert load_checkpoint(str(tmp_path)) is None
    save_checkpoint(str(tmp_path), {}, {"state": [np.zeros(100)]})
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:200])
    assert load_checkpoint(str(tmp_path)) is None
    path.write_bytes(b"no archive")
    assert load_checkpoint(str(tmp_path)) is None


def test_a_checkpoint_replaces_the_one_before_as_a_whole(tmp_path: Path) -> None:
    save_checkpoint(str(tmp_path), {"epoch": 1}, {"state": [np.zeros(2)]})
    save_checkpoint(str(tmp_path), {"epoch": 2}, {"state": [np.ones(2)]})
    fields, groups = load_checkpoint(str(tmp_path)) or ({}, {})
    assert fields == {"epoch": 2}
    assert groups["state"][0].tolist() == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.training import stream
from pipelines.training.features import read_splits
from pipelines.training.fit_head import fit_head
from pipelines.training.fit_settings import FitSettings
from pipelines.training.stream import StreamSettings, check_streamed, fit_streamed
from tests.pipelines.training.builders import clouds, make_table
from transforms.errors import OptionError, StoreError
from transforms.store.table import FeatureTable

SETTINGS = FitSettings(l2_regularizer=0.001, learning_rate=0.01, batch_size=64, train_epochs=20)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FeatureTable:
    """4,000 rows in three files, their row groups of 1,024 rows and less; every tenth row has no label."""
    root = tmp_path_factory.mktemp("store")
    for run in range(3):
        count = (1500, 1500, 1000)[run]
        vectors, targets = clouds(count, 3, seed=run, distance=1.5)
        labels = [[] if row % 10 == 0 else ["abc"[target]] for row, target in enumerate(targets)]
        splits = np.random.default_rng(run).choice(["train", "validation", "test"], count, p=[0.7, 0.2, 0.1])
        made = make_table(root, vectors, labels, splits.tolist(), run_id=f"run{run}")
    return made


def test_a_streamed_fit_is_as_good_as_one_in_memory(table: FeatureTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK_BYTES", 1000 * 6 * 4)
    splits, fit = fit_streamed(table, SETTINGS)
    whole = read_splits(table)
    memory = fit_head(whole.train, whole.validation, whole.labels, SETTINGS)
    assert splits.labels == whole.labels
    assert len(splits.train.targets) == len(whole.train.targets)
    assert np.bincount(splits.train.targets).tolist() == np.bincount(whole.train.targets).tolist()
    assert splits.validation.vectors.shape == whole.validation.vectors.shape
    assert splits.test.vectors.shape == whole.test.vectors.shape
    assert fit.validation_loss == pytest.approx(memory.validation_loss, rel=0.02)
    assert fit.validation_loss < 0.9


def test_every_training_row_is_seen_once_a_pass_in_another_order(
    table: FeatureTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BLOCK_BYTES", 1000 * 6 * 4)
    _, groups = stream._survey(table)
    reader = stream._Reader(groups, 6, seed=0)
    room = reader.room()
    assert len(room.targets) == 2 * 1000
    passes = []
    for _ in range(2):
        rows = [room.vectors[rows].copy() for rows in reader.refill(room)]
        assert len(rows) > 1
        passes.append(np.concatenate(rows))
    expected = read_splits(table).train.vectors
    for found in passes:
        assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, expected.tolist()))
    assert not np.array_equal(passes[0], passes[1])


def test_a_pass_over_many_rows_is_a_part_of_them(table: FeatureTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK_BYTES", 1000 * 6 * 4)
    monkeypatch.setattr(stream, "PASS_ROWS", 1000)
    reader = stream._Reader(stream._survey(table)[1], 6, seed=0)
    room = reader.room()
    parts = [sum(len(rows) for rows in reader.refill(room)) for _ in range(round(reader.counts[0] / 1000))]
    assert len(parts) > 1
    assert all(parts)
    assert sum(parts) == reader.counts[0]


def test_a_large_validation_split_is_sampled_and_that_is_told(
    table: FeatureTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HELD_BYTES", 100 * 6 * 4)
    splits, _ = fit_streamed(table, SETTINGS)
    assert 90 <= len(splits.validation.targets) <= 110
    assert any("of the validation split are measured on" in warning for warning in splits.warnings)


def test_what_cannot_be_streamed_names_its_remedy(table: FeatureTable, tmp_path: Path) -> None:
    size = 4 * 6 * 4000
    assert StreamSettings(memory_limit=size / 1e9 * 0.99).is_beyond(table)
    assert not StreamSettings(memory_limit=size / 1e9 * 1.01).is_beyond(table)
    assert not StreamSettings().is_beyond(table)
    for fit, asked, flag in (
        (FitSettings(), {"--sweep": True}, "--sweep"),
        (FitSettings(labels_per_image="several"), {}, "--labels-per-image several"),
        (FitSettings(solver="adam"), {}, "--solver adam"),
    ):
        with pytest.raises(OptionError, match=f"{flag} needs the features in memory, .* --memory-limit; raise it"):
            check_streamed(fit, asked)
    vectors, _ = clouds(4, 2, seed=0)
    several = make_table(tmp_path / "several", vectors, [["a", "b"]] * 4, ["train"] * 4)
    with pytest.raises(StoreError, match="several labels, and its features are beyond memory"):
        fit_streamed(several, SETTINGS)
    alone = make_table(tmp_path / "alone", vectors, [["a"], ["b"]] * 2, ["train"] * 4)
    with pytest.raises(StoreError, match="has no validation split, which features beyond memory need"):
        fit_streamed(alone, SETTINGS)

from __future__ import annotations

import numpy as np
import pytest

from pipelines.training.features import Examples, split_features
from pipelines.training.fit_head import fit_head
from pipelines.training.fit_settings import FitSettings
from pipelines.training.rebalance import balancing_weights, cells, rebalance, remarks
from tests.pipelines.training.builders import clouds, features
from transforms.errors import StoreError
from transforms.store.read import Features


def test_weighted_so_every_subgroup_has_the_label_shares_of_all() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, 500)
    values = np.array(["a", "b", ""])[np.minimum(generator.integers(0, 3, 500), 1 + targets)]
    weights = balancing_weights(values, targets)
    valued = values != ""
    shares = np.bincount(targets[valued]) / valued.sum()
    for value in ("a", "b"):
        here = values == value
        np.testing.assert_allclose(np.bincount(targets[here], weights[here]) / here.sum(), shares, rtol=1e-5)
    assert (weights[~valued] == 1).all()


def test_a_weight_counts_as_so_many_copies_with_either_solver() -> None:
    vectors, targets = clouds(90, 3, seed=1)
    weights = np.where(np.arange(90) % 2, 3, 1).astype(np.float32)
    weighted = Examples(vectors=vectors, targets=targets, weights=weights)
    copied = Examples(vectors=vectors, targets=targets).take(np.repeat(np.arange(90), weights.astype(int)))
    assert weighted.take(np.array([1, 2])).weights.tolist() == [3, 1]
    for solver in ("direct", "adam"):
        settings = FitSettings(
            solver=solver, l2_regularizer=0.0, batch_size=1000, learning_rate=0.02, train_epochs=150, patience=150
        )
        fits = [fit_head(part, part, ("a", "b", "c"), settings) for part in (weighted, copied)]
        plain = fit_head(Examples(vectors=vectors, targets=targets), weighted, ("a", "b", "c"), settings)
        assert fits[0].validation_loss == pytest.approx(fits[1].validation_loss, rel=0.01)
        assert plain.validation_loss > fits[0].validation_loss


def table(values: list[str], labels: list[str]) -> dict[str, Features]:
    vectors, _ = clouds(len(values), 2, seed=1)
    rows = features(vectors, [(label,) for label in labels])
    rows = Features(**{**vars(rows), "attributes": [{"lamp": value} if value else {} for value in values]})
    empty = features(vectors[:0], [])
    return {"train": rows, "validation": rows, "test": empty}


def test_the_cause_is_told_and_what_no_weight_mends() -> None:
    parts = table(["cool"] * 50 + ["warm"] * 50 + [""], ["a"] * 49 + ["b"] + ["b"] * 50 + ["a"])
    splits = split_features(parts, "TABLE", attributes=("lamp",))
    found = cells(splits, "lamp")
    assert [(cell.value, cell.label, cell.rows) for cell in found] == [
        ("cool", "a", 49),
        ("cool", "b", 1),
        ("warm", "a", 0),
        ("warm", "b", 50),
    ]
    assert found[1].weight == pytest.approx(50 * 51 / 100 / 1)
    told = remarks(found, "lamp")
    assert told[0].startswith("--rebalance: the 1 training images of lamp 'cool' that are 'b' weigh 25.5 each")
    assert told[1] == "--rebalance: no training image of lamp 'warm' is 'a', and no weight can mend that"
    both = rebalance(splits, "lamp")
    assert both.train.weights is not None
    assert both.validation.weights is not None
    assert both.test.weights is None, "what is measured on stays as it is"


def test_an_attribute_that_no_image_has_is_refused() -> None:
    parts = table(["cool", "warm"] * 10, ["a", "b"] * 10)
    with pytest.raises(StoreError, match="no training image has the attribute 'camera'; there are 'lamp'"):
        split_features(parts, "TABLE", attributes=("camera",))
    with pytest.raises(StoreError, match="they have none: columns of a manifest become attributes"):
        split_features(table([""] * 20, ["a", "b"] * 10), "TABLE", attributes=("camera",))

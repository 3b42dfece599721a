from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.transforms.measures.example import batch, random_rows, row
from transforms.errors import InputError
from transforms.measures.comparison import Comparison, mcnemar
from transforms.measures.joining import aligned, partitioned
from transforms.measures.rows import normalise
from transforms.measures.slices import MeasureOptions


def _compare(first: list[dict[str, Any]], second: list[dict[str, Any]], cut: int = 1000) -> dict[str, Any]:
    whole = Comparison(MeasureOptions(draws=50))
    for begin in range(0, len(first), cut):
        part = Comparison(MeasureOptions(draws=50))
        part.add(*(normalise(batch(*rows[begin : begin + cut])) for rows in (first, second)))
        whole.merge(part)
    return whole.compute("one", "two")


def _row(score: float, label: int, weight: float) -> dict[str, Any]:
    return row(["p", "n"], [score, 1 - score], ["p" if label else "n"], weight=weight)


def test_known_flips() -> None:
    labels, weights = (0, 0, 1, 1), (1, 2, 3, 4)
    first, second = (
        [_row(*entry) for entry in zip(scores, labels, weights, strict=True)]
        for scores in ((0.1, 0.9, 0.1, 0.9), (0.9, 0.1, 0.2, 0.8))
    )
    found = _compare(first, second)
    flips = next(entry for entry in found["classes"] if entry["name"] == "p")
    assert (flips["symmetric"], flips["negative_to_positive"], flips["positive_to_negative"]) == (0.3, 0.1, 0.2)
    assert found["overall"]["changed"] == 0.3


def test_mcnemar_is_exact() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(9, 1) == mcnemar(1, 9)
    assert mcnemar(5100, 4900) == pytest.approx(mcnemar(5101, 4900), rel=0.1)  # exact beside the approximation


def test_pairs_and_slices_are_counted() -> None:
    first, one, actual = random_rows(300, 1)
    second, two, _ = random_rows(300, 2)
    for mine, theirs in zip(first, second, strict=True):
        theirs["labels"] = None  # the truth is the first's
        theirs["image_id"] = mine["image_id"]
    found = _compare(first, second)
    right = [scores.argmax(axis=1) == actual for scores in (one, two)]
    overall = found["overall"]
    assert overall["first_accuracy"] == pytest.approx(right[0].mean())
    assert overall["second_accuracy"] == pytest.approx(right[1].mean())
    assert overall["only_first_right"] == (right[0] & ~right[1]).sum()
    assert overall["only_second_right"] == (~right[0] & right[1]).sum()
    assert overall["changed"] == pytest.approx((one.argmax(axis=1) != two.argmax(axis=1)).mean())
    low, high = overall["difference_interval"]
    assert low < overall["difference"] < high
    left = np.arange(300) % 3 > 0
    part = next(entry for entry in found["slices"]["side"] if entry["value"] == "left")
    assert part["overall"]["only_second_right"] == (~right[0] & right[1] & left).sum()
    turned = (two[left][:, 1] > 0.5) & ~(one[left][:, 1] > 0.5)
    flips = next(entry for entry in part["classes"] if entry["name"] == "cat")
    assert flips["negative_to_positive"] == pytest.approx(turned.mean())
    assert "serial" not in found["slices"]
    alone = found["right_alone"]["first"]
    assert len(alone) == 24
    assert alone[0]["label"] == alone[0]["prediction"]
    in_parts = _compare(first, second, cut=37)
    assert in_parts["overall"]["p_value"] == overall["p_value"]
    assert in_parts["right_alone"] == found["right_alone"]


def test_rows_that_one_cannot_measure_are_left_out() -> None:
    first = [_row(0.9, 1, 1), _row(0.9, 1, 1)]
    second = [_row(0.9, 1, 1), row(["p", "n"], [float("nan"), 0.5], None)]
    assert _compare(first, second)["rows"] == 1


def test_partners_are_found_and_the_rest_is_counted() -> None:
    def tables(*names: str) -> Any:
        return [normalise(batch(*[row(["a"], [1.0], ["a"], image_id=name) for name in names]))]

    found = aligned(tables("x", "y", "z", "d", "d"), tables("z", "q", "x"))
    assert found.first.column("image_id").to_pylist() == found.second.column("image_id").to_pylist() == ["x", "z"]
    assert (found.only_first, found.only_second, found.duplicates) == (1, 1, 2)
    assert aligned(tables("x"), [])[2:] == (1, 0, 0)


def test_partitions_keep_images_together() -> None:
    rows, _, _ = random_rows(60)
    parts = [dict(partitioned(batch(*chosen), 8)) for chosen in (rows, rows[::-1])]
    assert sum(table.num_rows for table in parts[0].values()) == 60
    for part, table in parts[0].items():
        assert set(table.column("image_id").to_pylist()) == set(parts[1][part].column("image_id").to_pylist())
    with pytest.raises(InputError, match="name a column with --id-column"):
        list(partitioned(batch(row(["a"], [1.0], ["a"], image_uri="")), 8))

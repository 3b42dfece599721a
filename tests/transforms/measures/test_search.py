from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.transforms.measures.example import batch, row
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions


def _rows(number: int, worse: float, seed: int = 0) -> list[dict[str, Any]]:
    """Nine of ten are right, but at night in the north ``worse`` of them."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(number):
        light, place = generator.choice(["day", "night"]), generator.choice(["north", "south"])
        chance = worse if (light, place) == ("night", "north") else 0.9
        right = generator.random() < chance
        attributes = [("light", light), ("place", place), ("serial", f"{index}"), ("same", light)]
        confidence = 0.5 + generator.random() / 2
        label = "a" if right else "b"
        rows.append(
            row(["a", "b"], [confidence, 1 - confidence], [label], image_uri=f"/{index}.jpg", attributes=attributes)
        )
    return rows


def _search(rows: list[dict[str, Any]], cut: int = 10_000, minimum: int = 30) -> dict[str, Any]:
    evaluation = Evaluation(MeasureOptions(draws=2, minimum_slice=minimum))
    for begin in range(0, len(rows), cut):
        part = Evaluation(MeasureOptions(draws=2, minimum_slice=minimum))
        part.add(batch(*rows[begin : begin + cut]))
        evaluation.merge(part)
    return evaluation.search.compute(minimum)


def test_the_worst_pair_is_found() -> None:
    rows = _rows(800, 0.5)
    found = _search(rows)
    worst = found["found"][0]
    assert set(worst["attributes"].values()) == {"night", "north"}
    assert worst["adjusted_p_value"] < 1e-9
    assert worst["accuracy"] == pytest.approx(0.5, abs=0.08)
    assert worst["rest_accuracy"] == pytest.approx(0.9, abs=0.04)
    assert all(image["label"] == "b" for image in worst["images"])
    confidences = [image["confidence"] for image in worst["images"]]
    assert len(confidences) == 6
    assert confidences == sorted(confidences, reverse=True)
    # 3 attributes of 2 values, and of the 12 pairs the 8 that are smaller than their parts
    assert found["tried"] == 6 + 8
    assert _search(rows, cut=37) == found


def test_the_p_value_is_that_of_two_shares() -> None:
    rows = [
        row(["a", "b"], [0.9, 0.1], ["a" if right else "b"], attributes=[("side", side)])
        for side, rights in (("left", 60), ("right", 85))
        for right in [True] * rights + [False] * (100 - rights)
    ]
    found = _search(rows)
    pooled, step = 145 / 200, 2 / 100
    score = (0.85 - 0.60 - step / 2) / math.sqrt(pooled * (1 - pooled) * step)
    expected = math.erfc(score / math.sqrt(2)) / 2
    assert found["found"][0]["p_value"] == pytest.approx(expected)
    assert found["found"][0]["adjusted_p_value"] == pytest.approx(2 * expected)  # Holm's, of two
    assert [entry["attributes"] for entry in found["found"]] == [{"side": "left"}]


def test_chance_is_called_chance() -> None:
    """Without a worse slice, a corrected p-value below 0.05 comes up in about one search of twenty."""
    alarms = sum(
        any(entry["adjusted_p_value"] < 0.05 for entry in _search(_rows(300, 0.9, seed))["found"]) for seed in range(30)
    )
    assert alarms <= 4


def test_small_slices_are_not_tried() -> None:
    assert _search(_rows(60, 0.5), minimum=40)["tried"] == 0

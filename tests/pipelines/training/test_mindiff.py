from __future__ import annotations

import numpy as np
import pytest

from pipelines.training.features import Examples
from pipelines.training.mindiff import Constraint, MinDiff, discrepancy, positive_column
from transforms.errors import OptionError

MEMBERS = [1, 0, 1, 0, 1]
SCORES = 1 / (1 + np.exp(-np.array([0.3, 0.1, 0.86, 0.06, 0.75])))
WEIGHTS = np.array([1, 2, 2.5, 1.2, 0.9])


def examples(values: list[str], targets: list[int]) -> Examples:
    return Examples(
        vectors=np.arange(len(values), dtype=np.float32)[:, None],
        targets=np.array(targets, np.int32),
        attributes=[{"lamp": value} if value else {} for value in values],
    )


@pytest.mark.parametrize(
    ("kernel", "weights", "expected"),
    [
        ("gaussian", None, 1.083264),
        ("laplacian", None, 0.970659),
        ("gaussian", WEIGHTS, 1.293555),
        ("laplacian", WEIGHTS, 1.122741),
    ],
)
def test_known_answers(kernel: str, weights: np.ndarray | None, expected: float) -> None:
    assert discrepancy(SCORES, MEMBERS, weights, kernel) == pytest.approx(expected, abs=2e-6)


def test_equal_groups_have_no_discrepancy_and_negative_weights_are_an_error() -> None:
    assert discrepancy([0.2, 0.9, 0.2, 0.9], [1, 1, 0, 0]) == pytest.approx(0, abs=1e-6)
    with pytest.raises(OptionError, match="weights of MinDiff must not be negative, got -1"):
        discrepancy(SCORES, MEMBERS, np.array([1, 1, -1, 1, 1]))


def test_every_step_has_both_groups_and_nobody_else() -> None:
    values = ["warm"] * 12 + ["cool"] * 40 + ["", "warm", "cool"]
    rows = examples(values, [0] * 52 + [0, 1, 1])
    constraint = Constraint(MinDiff(attribute="lamp", values=("warm",)), 1, rows)
    drawn, members = constraint.draw(constraint.sides(rows), 3, np.random.default_rng(0))
    assert drawn.shape == (3, 52)
    assert members.tolist() == [1] * 12 + [0] * 40
    for step in drawn:
        assert sorted(step[:12]) == list(range(12)), "those with the value and without the class"
        assert sorted(step[12:]) == list(range(12, 52)), "another value; no value is in neither group"
    sample, members = constraint.sample(rows)
    assert sample.values("lamp")[members == 1].tolist() == ["warm"] * 12
    positives = Constraint(MinDiff(attribute="lamp", values=("warm",), side="positives"), 0, rows)
    assert [side.tolist() for side in positives.sides(rows)] == [list(range(12)), list(range(12, 52))]


def test_what_it_cannot_work_on_is_refused() -> None:
    few = examples(["warm"] * 3 + ["cool"] * 40, [0] * 43)
    with pytest.raises(OptionError, match=r"--mindiff lamp:warm: 3 training images with the value .* 'cool', 'warm'"):
        Constraint(MinDiff(attribute="lamp", values=("warm",)), 1, few)
    with pytest.raises(OptionError, match="--mindiff must be ATTRIBUTE:VALUE"):
        MinDiff(attribute="lamp", values=("",))
    with pytest.raises(OptionError, match=r"--mindiff-weight must be positive, such as 1\.5, got -1"):
        MinDiff(attribute="lamp", values=("warm",), weight=-1)
    assert positive_column(("a", "b"), "") == 1
    assert positive_column(("a", "b", "c"), "a") == 0
    with pytest.raises(OptionError, match="--positive-label must name the class"):
        positive_column(("a", "b", "c"), "")
    with pytest.raises(OptionError, match="--positive-label: 'd' is no class; there are 'a', 'b'"):
        positive_column(("a", "b"), "d")

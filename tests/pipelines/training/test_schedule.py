from __future__ import annotations

import numpy as np
import pytest

from pipelines.training.fit_settings import FEW_EXAMPLES, FitSettings
from pipelines.training.schedule import CUT, Schedule


def losses(course, *passes: tuple[float, ...]) -> list[list[float]]:
    """Lets a course see losses; returns the factors before each pass."""
    seen = []
    for values in passes:
        seen.append(course.factors.tolist())
        course.see(np.array(values))
    return seen


def test_a_constant_rate_stays_and_patience_ends_it() -> None:
    course = Schedule(epochs=10, patience=2).start(1)
    assert losses(course, (3,), (2,), (2.5,)) == [[1], [1], [1]]
    assert not course.finished
    course.see(np.array([2.0]))
    assert course.finished
    assert (course.losses.tolist(), course.best.tolist(), course.passes) == ([2.0], [2], 4)


def test_every_head_has_its_own_patience() -> None:
    course = Schedule(epochs=10, patience=1).start(2)
    assert course.see(np.array([1.0, 1.0])).tolist() == [True, True]
    assert course.see(np.array([2.0, 0.5])).tolist() == [False, True]
    assert not course.finished
    course.see(np.array([0.5, 0.5]))
    assert course.losses.tolist() == [1.0, 0.5], "a head that is done stays what it was, whatever goes on beside it"


def test_cosine_falls_to_zero_over_all_passes() -> None:
    course = Schedule(name="cosine", epochs=4, patience=9).start(1)
    factors = [row[0] for row in losses(course, (4,), (3,), (2,), (1,))]
    assert factors == pytest.approx([1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])
    assert course.finished


def test_plateau_cuts_the_rate_of_the_head_that_gained_nothing_and_stops() -> None:
    course = Schedule(name="plateau", epochs=50, patience=50).start(2)
    course.see(np.array([1.0, 1.0]))
    course.see(np.array([0.5, 0.99999]))
    assert course.factors.tolist() == pytest.approx([1, CUT["plateau"]])
    for loss in (0.4, 0.3):
        assert not course.finished
        course.see(np.array([loss, 0.99999]))
    assert course.factors.tolist() == pytest.approx([1, CUT["plateau"] ** 3])
    for _ in range(3):
        course.see(np.array([0.3, 1.0]))
    assert course.finished


def test_anneal_cuts_the_rate_after_the_first_pass_and_the_less_is_gained_the_faster() -> None:
    course = Schedule(name="anneal", epochs=50, patience=50).start(2)
    cut, factors = CUT["anneal"], []
    for loss in ((1.0, 1.0), (0.5, 0.99), (0.48, 0.98)):
        course.see(np.array(loss))
        factors.append(course.factors.tolist())
    assert np.allclose(factors, [[cut, cut], [cut, cut**2], [cut, cut**2]]), "of a small rate less is asked"
    for _ in range(5):
        course.see(np.array([0.49, 0.98]))
    assert course.finished


def test_the_default_anneals_where_the_held_out_loss_is_steady() -> None:
    assert FitSettings().schedule(FEW_EXAMPLES).name == "constant"
    assert FitSettings().schedule(FEW_EXAMPLES + 1).name == "anneal"
    assert FitSettings().first_rate(FEW_EXAMPLES + 1) > FitSettings().first_rate(FEW_EXAMPLES) == FitSettings().rate
    assert FitSettings(learning_rate=0.001).schedule(FEW_EXAMPLES + 1).name == "plateau"
    assert FitSettings(learning_rate=0.001).first_rate(FEW_EXAMPLES + 1) == 0.001
    assert FitSettings(solver="adam").schedule(10**6).name == "constant"
    assert FitSettings(learning_rate_schedule="cosine").schedule(10).name == "cosine"

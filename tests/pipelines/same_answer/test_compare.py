from __future__ import annotations

import pytest

from pipelines.same_answer.compare import Check, json_differences, row_differences

ROWS = [{"name": "a", "width": 3, "vector": [1.0, 200.0]}, {"name": "b", "width": 4, "vector": [0.5, float("nan")]}]


def changed(place: int, **columns: object) -> list[dict[str, object]]:
    return [row | columns if number == place else row for number, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (ROWS[::-1], None),
        (ROWS[:1], "b is there not at all, expected once"),
        ([*ROWS, ROWS[0]], "a is there twice, expected once"),
        ([*ROWS, {"name": "c"}], "c is there once, expected not at all"),
        (changed(0, width=5), "a: width is 5, expected 3"),
        (changed(0, width=3.0), "a: width is 3.0, expected 3"),
        (changed(0, width=None), "a: width is None, expected 3"),
        ([{"name": "a", "vector": ROWS[0]["vector"]}, ROWS[1]], "a: width is '(absent)', expected 3"),
        (changed(0, vector=[1.0 + 1e-3, 200.0]), None),
        (changed(0, vector=[1.0, 200.1]), "a: vector is [1.0, 200.1], expected [1.0, 200.0]"),
        (changed(0, vector=[1.0]), "a: vector is [1.0], expected [1.0, 200.0]"),
        (changed(1, vector=[0.5, 0.0]), "b: vector is [0.5, 0.0], expected [0.5, nan]"),
    ],
)
def test_the_first_difference_of_rows_is_named(found: list[dict[str, object]], difference: str | None) -> None:
    differences = list(row_differences(ROWS, found, key="name", close={"vector": 1e-4}))
    assert differences == ([difference] if difference else [])


def test_columns_that_are_not_expected_or_ignored_do_not_count() -> None:
    assert not list(
        row_differences([{"name": "a", "run": 1}], [{"name": "a", "run": 2, "x": 1}], key="name", ignored=["run"])
    )


def test_json_is_compared_at_every_place() -> None:
    expected = {"run_id": 1, "counts": {"rows": 3, "bad": 0}, "classes": [{"name": "x", "f1": 0.5}, {"name": "y"}]}
    found = {"run_id": 2, "counts": {"rows": 4, "bad": 0}, "classes": [{"name": "x", "f1": 0.5 + 1e-12}, {"z": None}]}
    assert list(json_differences(expected, found, 1e-9, ignored=["run_id"])) == [
        "counts.rows is 4, expected 3",
        "classes[1].name is '(absent)', expected 'y'",
        "classes[1].z is None, expected '(absent)'",
    ]
    assert list(json_differences({"f1": 0.5}, {"f1": 0.5 + 1e-12}, 0.0))


def test_a_check_names_the_first_differences() -> None:
    check = Check.of("embed", "rows", iter("abcde"))
    assert (check.differences, check.further, check.verdict) == (("a", "b", "c"), 2, "DIFFERENT")
    assert Check.of("embed", "rows", iter(())).verdict == "same"

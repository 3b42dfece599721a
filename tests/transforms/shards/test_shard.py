from __future__ import annotations

import dataclasses

import pytest

from transforms.shards.shard import Shard, ShardResult
from transforms.sources.reference import ImageReference

A, B = ImageReference("/a", "1-1", ("cat",)), ImageReference("/b", "1-2")


def result(**changes: object) -> ShardResult:
    fields = {
        "name": "0" * 24,
        "run_id": "run",
        "files": {"data": "data/part.parquet"},
        "rows": 3,
        "sizes": {"data": 4},
        "encoded": 2,
        "copied": 1,
        "failures": {"EMPTY": 2, "CORRUPT": 1},
        "failure_example": "/x: is empty",
        "classes": {"cat": 2, "": 1},
        "replaced": 1,
        "stage_seconds": {"read": 0.5},
        "peak_memory_mb": 100.0,
        "lanes": {"cores": 2},
    }
    return ShardResult(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_name_follows_from_content_and_purpose_not_from_order() -> None:
    assert Shard.of([A, B], [], "x") == Shard.of([B, A], [], "x")
    names = {
        Shard.of([A, B], [], "x").name,
        Shard.of([A, B], [], "y").name,
        Shard.of([A], [], "x").name,
        Shard.of([A, B._replace(fingerprint="2-2")], [], "x").name,
        Shard.of([A, B._replace(labels=("dog",))], [], "x").name,
    }
    assert len(names) == 5
    assert all(len(name) == 24 for name in names)


def test_a_result_survives_json() -> None:
    assert ShardResult.from_json(result().to_json()) == result()
    assert result().failed == 3


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"replaced": 0}', result().to_json()[:-9]])
def test_a_marker_that_is_cut_short_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        ShardResult.from_json(text)


def test_results_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        result().rows = 5  # type: ignore[misc]

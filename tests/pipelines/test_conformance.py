from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import conformance
from pipelines.same_answer.flow import Flow
from transforms.shards import embedder

SEVERAL = ["--direct_running_mode=multi_threading", "--direct_num_workers=3"]
TWICE = ["--direct_runner_bundle_repeat=1"]


@pytest.mark.parametrize(
    "flags",
    [
        TWICE,
        pytest.param([], marks=pytest.mark.slow),
        pytest.param(SEVERAL, marks=pytest.mark.slow),
        pytest.param([*SEVERAL, *TWICE], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_the_local_runner_conforms(
    flags: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--directory", str(tmp_path / "new" / "place"), "--model", str(model), "--images", "24", *flags]
    assert conformance.main([*call, "--json"]) == 0
    out, err = capsys.readouterr()
    assert "$ heliograph" not in err, "the commands themselves are shown when one fails"
    record = json.loads(out)
    assert record["same"]
    assert {check["step"] for check in record["checks"]} == {
        "embed",
        "embed again",
        "score",
        "score stored",
        "evaluate",
    }
    assert {check["verdict"] for check in record["checks"]} == {"same"}
    assert not list(tmp_path.iterdir()), "nothing is left"


def test_vectors_that_depend_on_the_batch_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for later in ("_train", "_score", "_evaluate"):
        monkeypatch.setattr(Flow, later, lambda *_: ())
    stack = embedder.stack_vectors

    def rolled(batch: Sequence[Any]) -> Any:
        return np.roll(stack(batch), len(batch) <= 3, axis=0)  # as the runs under test have it

    monkeypatch.setattr(embedder, "stack_vectors", rolled)
    call = ["--directory", str(tmp_path), "--images", "9"]  # fewer than the bad ones
    assert conformance.main(call) == 1
    printed = capsys.readouterr()
    (line,) = [line for line in printed.out.splitlines() if line.endswith("DIFFERENT")]
    assert line.startswith("embed  "), line
    assert "embedding within" in line
    assert "collection/" in printed.out
    (left,) = tmp_path.iterdir()
    assert f"1 of 9 comparisons differ; what was made is in {left}" in printed.err


def test_too_few_images_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert conformance.main(["--images", "2"]) == 2
    assert "--images must be 6 or more, got 2" in capsys.readouterr().err


def test_places_that_workers_do_not_reach_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert conformance.main(["--runner=PortableRunner", "--job_endpoint=10.0.0.1:8099"]) == 2
    assert "--directory" in capsys.readouterr().err

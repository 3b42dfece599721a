"""The command on images: what it tells, and how it ends mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines import estimate, sampling
from pipelines.sampling import choose
from transforms.sources.reference import ImageReference, Member


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert estimate.main([*map(str, arguments), "--json"]) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def test_the_arithmetic_of_a_sample(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = ["--workers", 8, "--machine-type", "n1-standard-4", "--price-per-hour", 0.5]
    record = run(capsys, "--input", photos, "--images", 10**7, *fleet, "--core-speed", 0.5, "--sample", 20)
    assert (record["images"], record["shards"], record["sample"]["images"]) == (10**7, 10_000, 20)
    assert [found["workers"] for found in record["estimates"]] == [1, 2, 4, 8, 16, 32]
    asked = record["estimates"][3]
    rate = record["sample"]["images"] / record["sample"]["seconds"] / record["sample"]["cores"] * 0.5
    assert asked["phases"]["embed"] == pytest.approx(10**7 / rate / 32, rel=0.02)
    assert asked["phases"]["start"] == 180
    assert asked["seconds"] == pytest.approx(sum(asked["phases"].values()), abs=0.5)
    assert asked["worker_hours"] == pytest.approx(8 * asked["seconds"] / 3600, rel=1e-3)
    assert asked["cost"] == pytest.approx(0.5 * asked["worker_hours"], rel=1e-2)


def test_what_a_person_reads(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert estimate.main(["--input", str(photos), "--sample", "5", "--cores-per-worker", "4"]) == 0
    captured = capsys.readouterr()
    assert " by litert in float32" in captured.err  # which workers elsewhere have
    told = captured.out
    assert told.startswith("5 images timed here: ")
    assert "60 images in 1 shard, on workers of 4 cores:" in told
    assert [line.split()[:2] for line in told.splitlines()[4:8]] == [
        ["1", "4"],
        ["4", "16"],
        ["16", "64"],
        ["64", "256"],
    ]
    assert "cost" not in told.splitlines()[3]
    assert "--price-per-hour tells the cost" in told
    assert "workers beyond the number of shards have nothing to do; a --shard-size below 1000 helps" in told


def test_an_estimate_leaves_nothing(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(capsys, "--input", photos, "--store", tmp_path / "store", "--sample", 3)
    assert not list(tmp_path.iterdir())
    assert "cost" not in record["estimates"][0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--machine-type", "a2-highgpu-1g"], "does not say its cores; give --cores-per-worker instead"),
        (["--machine-type", "n1-standrd-4"], "did you mean n1-standard-4?"),
        (["--machine-type", "n1-standard-4", "--cores-per-worker", "4"], "not allowed with argument --machine-type"),
        (["--workers", "0"], "must be positive, got 0"),
        (["--price-per-hour", "-1"], "must be positive, got -1"),
        (["--runner=DataflowRunner"], "--runner=DataflowRunner is for a run; estimate takes --workers"),
        (["--round-trip-ms", "-1"], "--round-trip-ms must be 0 or more, got -1"),
        (["--input", "/nowhere"], "/nowhere"),
    ],
)
def test_mistakes_end_in_a_line(
    photos: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert estimate.main([*(["--input", str(photos)] if "--input" not in flags else []), *flags]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("heliograph: ")]
    (line,) = [line for line in lines if "note: this machine is busy" not in line]
    assert message in line


def test_images_that_all_fail_are_no_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_text("no picture")
    assert estimate.main(["--input", str(tmp_path)]) == 2
    assert "none of the 3 sampled images can be embedded: " in capsys.readouterr().err


def test_a_sample_is_spread_over_files_and_runs_through_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "LOOKED_AT", 100)
    files = [ImageReference(f"/p/{number:03d}.jpg") for number in range(1000)]
    assert [reference.uri for reference in choose(files, 4)] == ["/p/000.jpg", "/p/025.jpg", "/p/050.jpg", "/p/075.jpg"]
    assert choose(files[:3], 4) == files[:3]
    members = [
        reference._replace(place=Member("/p.tar", "tar", number, 0, 9)) for number, reference in enumerate(files)
    ]
    assert choose(members, 4) == members[:4]

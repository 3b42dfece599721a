"""Whole commands on a disk that is really full, and where permission is lost: one line, and the next run goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import embed, evaluate, score, train
from tests.photographs import write_folder
from tests.pipelines.test_embed import ROOT, command, features, run, wait_for

SMALL = ["--image-size", 32, "--shard-size", 20]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small disk of its own; called again with another size, it grows or shrinks."""
    place = tmp_path / "disk"
    place.mkdir()

    def resize(size: str) -> Path:
        remount = "remount," if os.path.ismount(place) else ""
        call = ["mount", "-t", "tmpfs", "-o", f"{remount}size={size}", "tmpfs", str(place)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        return place

    yield resize
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_embed_on_a_full_disk(
    tmp_path: Path, disk: Callable[[str], Path], many_photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = disk("1500k") / "store"
    few = write_folder(tmp_path / "few", per_label=3)
    run(capsys, "--input", few, "--store", store, *SMALL)
    arguments = ["--input", many_photos, "--store", store, *SMALL]
    assert embed.main([*map(str, arguments)]) == 1
    line = last_line(capsys)
    assert line.startswith(f"heliograph: {store}")
    assert "No space left on device" in line
    assert "make room" in line
    assert len(features(store).image_ids) == 6, "the table is read as it was"
    disk("10m")
    record = run(capsys, *arguments)
    assert 0 < record["resumed"] < 400
    assert sorted(features(store).image_uris) == sorted(map(str, [*few.glob("*/*"), *many_photos.glob("*/*")]))


def test_other_commands_on_a_full_disk(
    disk: Callable[[str], Path],
    photos: Path,
    store: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = disk("12k")
    predict = ["--store", str(store), "--model", str(model), "--output"]
    assert score.main([*predict, str(tmp_path / "out")]) == 0
    calls = {
        "score": lambda: score.main([*predict, str(place / "out")]),
        "train": lambda: train.main(["--store", str(store), "--model", str(place / "model"), "--train-epochs", "1"]),
        "evaluate": lambda: evaluate.main(["--predictions", str(tmp_path / "out"), "--output", str(place / "report")]),
    }
    for name, call in calls.items():
        capsys.readouterr()
        assert call() == 1, name
        line = last_line(capsys)
        assert line.startswith("heliograph: "), name
        assert "unexpected" not in line
        assert str(place) in line, line
        assert "No space left on device" in line
        assert "make room" in line
    disk("20m")
    assert [calls[name]() for name in ("score", "evaluate")] == [0, 0]


@pytest.fixture
def permit() -> Iterator[Callable[[Path, bool], None]]:
    """Takes the permission to make files in a directory away, from root too, and gives it back."""
    taken: set[Path] = set()

    def permit(path: Path, allowed: bool) -> None:
        how = ["chattr", "-i" if allowed else "+i"] if os.geteuid() == 0 else ["chmod", "u+w" if allowed else "a-w"]
        done = subprocess.run([*how, str(path)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"permission cannot be taken from root here: {done.stderr.strip()}")
        taken.add(path)

    yield permit
    for path in taken:
        permit(path, True)


@pytest.mark.parametrize("directory", ["data", "_delta_log"])
def test_permission_is_lost_while_a_run_embeds(
    tmp_path: Path,
    many_photos: Path,
    permit: Callable[[Path, bool], None],
    capsys: pytest.CaptureFixture[str],
    directory: str,
) -> None:
    store, few = tmp_path / "store", write_folder(tmp_path / "few", per_label=3)
    run(capsys, "--input", few, "--store", store, *SMALL)
    arguments = ["--input", many_photos, "--store", store, *SMALL]
    process = subprocess.Popen(command(*arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_for(process, store, "*/_work/shards/*.json", 2)
    (table,) = store.iterdir()
    permit(table / directory, False)
    _, stderr = process.communicate(timeout=60)
    line = stderr.strip().splitlines()[-1]
    assert process.returncode == 1, line
    assert line.startswith("heliograph: ")
    assert str(table) in line
    assert "ermission" in line
    assert len(features(store).image_ids) == 6, "the table is read as it was"
    permit(table / directory, True)
    record = run(capsys, *arguments)
    assert record["resumed"] > 0
    assert len(features(store).image_ids) == 406

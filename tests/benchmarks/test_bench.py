from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import chart, goals, jobs, page, photographs, processes
from benchmarks.stacks import place

ABOUT = {
    "date": "2026-01-01",
    "processor": "one",
    "cores": 2,
    "extensions": ["avx2"],
    "memory_gb": 24,
    "system": "Linux",
    "load": [0.1, 0.2, 0.3],
    "versions": {"python": "3.11"},
    "auto": "litert",
    "rounds": 2,
}


def job(with_start: float, steady: float) -> dict[str, float]:
    return {
        "images": 10,
        "seconds": 1,
        "first_seconds": 2,
        "steady": steady,
        "with_start": with_start,
        "peak_mb": 100,
        "cosine": 1,
    }


FIGURES = {
    "about": ABOUT,
    "missing": {"Daft": "no wheel"},
    "parts": {
        "decode 500×375": [{"images_per_second": 600}, {"images_per_second": 300}],
        "network litert float32 on 1": [{"images_per_second": 150}, {"images_per_second": 150}],
    },
    "jobs": {
        "litert float32": [job(200, 228), job(150, 160)],
        "Ray Data, same network": [job(100, 200), job(100, 200)],
    },
    "growth": {
        "small encoder": [
            {"images": 10, "seconds": 1, "peak_mb": 100},
            {"images": 20, "seconds": 2, "peak_mb": 120},
        ]
    },
}


def test_photographs_are_the_same_each_time_and_each_file_has_its_own_bytes(tmp_path: Path) -> None:
    size = photographs.Size(64, 48)
    one, two = (photographs.write(tmp_path / name, size, 4, 2) for name in ("one", "two"))
    contents = [path.read_bytes() for path in sorted(one.iterdir())]
    assert contents == [path.read_bytes() for path in sorted(two.iterdir())]
    assert len(set(contents)) == 4
    assert len(list(photographs.part(one, 3).iterdir())) == 3


def test_a_photograph_has_the_bytes_of_a_photograph(tmp_path: Path) -> None:
    folder = photographs.write(tmp_path / "photos", photographs.SMALL, 8, 8)
    assert 40_000 < np.mean([path.stat().st_size for path in folder.iterdir()]) < 80_000


def test_steady_speed_begins_when_a_fifth_is_done_and_counts_all_processes(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("110.0 10\n112.0 50\n")
    (tmp_path / "2").write_text("111.0 40\n")
    marks = processes.read_marks(tmp_path)
    assert marks == [(110.0, 10), (111.0, 50), (112.0, 100)]
    measured = processes.Measured(seconds=15, peak_mb=1, marks=marks, started=100.0, output="")
    assert measured.first == 10.0
    assert measured.steady == 50.0


def test_memory_is_that_of_all_processes_and_none_survives() -> None:
    child = "import time; kept = b'x' * 80_000_000; time.sleep(1.5)"
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]).wait(); print('done')"
    measured = processes.run([sys.executable, "-c", script])
    assert 80 < measured.peak_mb < 200
    assert measured.output == "done\n"
    orphan = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid)"
    pid = processes.run([sys.executable, "-c", orphan]).output.strip()
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_command_that_fails_tells_its_last_words() -> None:
    with pytest.raises(processes.Failed, match="no such thing"):
        processes.run([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_heartbeats_that_are_being_written_do_not_count_twice(tmp_path: Path) -> None:
    folder = tmp_path / "table" / "_work" / "progress" / "run"
    folder.mkdir(parents=True)
    for name in ("1-2-worker", ".temporary.tmp"):
        (folder / name).write_text("[100, 32, 0, 0]")
    found = jobs._heartbeat(tmp_path)
    assert found is not None
    assert found[1] == 32


def test_goals_are_ratios_within_a_round() -> None:
    found = {goal.what: goal for goal in goals.goals(FIGURES)}
    limit = found["litert float32, steady, of the limit"]
    assert limit.values == pytest.approx([228 / 240, 160 / 200])
    assert not limit.is_met
    ray = found["litert float32, start included, against Ray Data with the same network"]
    assert ray.values == [2.0, 1.5]
    assert ray.is_met
    assert ray.cells()[1:] == ["≥ 1.60", "1.75 (1.50–2.00)", "met"]
    assert found["peak memory at the most images, of that at the fewest"].cells()[3].startswith("not met")
    assert found["fitting the head, against PyTorch"].cells()[2:] == ["not measured", ""]


def test_the_page_and_its_chart_are_made_from_the_figures_alone(tmp_path: Path) -> None:
    page.write(FIGURES, tmp_path / "performance.md")
    text = (tmp_path / "performance.md").read_text()
    assert "| **litert float32** | 175 (150–200) |" in text
    assert "Not run: Daft (no wheel)." in text
    drawing = ElementTree.parse(tmp_path / page.CHART)
    words = [element.text for element in drawing.iter() if element.tag.endswith("text")]
    assert words.index("litert float32") < words.index("Ray Data, same network")


def test_bars_are_as_long_as_their_medians() -> None:
    bars = [chart.Bar("a", "heliograph", [100, 100], [110]), chart.Bar("b", "as documented", [50, 60, 40], [70])]
    drawing = ElementTree.fromstring(chart.bars_svg("title", bars))
    rows = [element for element in drawing.iter() if element.tag.endswith("rect") and element.get("height") == "16"]
    first, second = (float(row.get("width", "")) for row in rows)
    assert first / second == pytest.approx(2, abs=0.01)


def called_by(path: str, name: str, call: Callable[[], str]) -> str:
    """Calls from within a function of a file that need not be there."""
    functions: dict[str, Callable[[Callable[[], str]], str]] = {}
    exec(compile(f"def {name}(call): return call()", path, "exec"), functions)
    return functions[name](call)


def test_a_stack_belongs_to_its_innermost_place() -> None:
    def here() -> str:
        return place(sys._getframe())

    network, beam = ("transforms/encoders/litert.py", "interpret"), ("apache_beam/runners/worker.py", "process")
    assert here() == "the rest"
    assert called_by(*network, here) == "the network"
    assert called_by("transforms/encoders/litert.py", "load", here) == "choosing and checking the engine"
    assert called_by(*beam, lambda: called_by(*network, here)) == "the network"
    assert called_by(*network, lambda: called_by(*beam, here)) == "Beam"


def test_vectors_of_a_peer_are_found_by_file_name(tmp_path: Path) -> None:
    from benchmarks.peers import job as peer

    vectors = np.random.default_rng(0).random((2, peer.DIMENSION), dtype=np.float32)
    peer.write_parquet(tmp_path / "out", ["/photos/a.jpg", "file:///photos/b.jpg"], vectors)
    found = jobs.read_vectors(tmp_path / "out")
    assert sorted(found) == ["a.jpg", "b.jpg"]
    np.testing.assert_array_equal(found["b.jpg"], vectors[1])


@pytest.mark.slow
def test_the_whole_harness_runs_on_few_images(tmp_path: Path) -> None:
    results = tmp_path / "performance.json"
    command = [sys.executable, "-m", "benchmarks.bench", "--quick", "--rounds", "1", "--results", str(results)]
    command += ["--environments", str(tmp_path / "none")]
    done = subprocess.run(command, cwd=processes.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(results.read_text())
    assert set(figures["missing"]) >= set(jobs.PEERS)
    assert set(figures["jobs"]) == {f"{engine} {precision}" for engine, precision in jobs.ENGINES}
    assert all(row["cosine"] > 0.98 for rows in figures["jobs"].values() for row in rows)
    assert "## The whole job" in (tmp_path / "performance.md").read_text()

"""The whole command, with the real encoder: twice, with bad images, killed, interrupted, mistaken."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines import embed, runner
from pipelines.report import publish_embedding
from tests import odd_images
from tests.flags import BEAM_FLAGS
from tests.photographs import LABELS, draw, encoded, write_folder
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.images.decode import decode_image
from transforms.machine.cores import usable_cores
from transforms.shards.tuning import IMAGES_IN_TURN
from transforms.shards.work import images_at_once
from transforms.store import index
from transforms.store.catalog import open_table
from transforms.store.read import Features, read_features

ROOT = Path(__file__).parents[2]


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> dict[str, Any]:
    """Runs the command; returns its run record."""
    capsys.readouterr()
    assert embed.main([*map(str, arguments), "--json", *BEAM_FLAGS]) == status
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert record["listed"] == record["embedded"] + record["reused"] + record["failed"]
    return record


def mistake(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 2) -> str:
    """Runs the command, which must end with one line; returns it."""
    capsys.readouterr()
    assert embed.main([*map(str, arguments)]) == status
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith(("input: ", "encoder: "))]
    assert len(lines) == 1, captured.err
    return lines[0]


def features(store: Path) -> Features:
    return read_features(open_table(str(store)))


def dead_letters(store: Path) -> list[dict[str, Any]]:
    return [
        row for path in sorted(store.glob("*/_dead_letters/*/*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def test_rows_hold_what_the_images_are(photos: Path, store: Path) -> None:
    found = features(store)
    assert sorted(found.image_uris) == sorted(str(path) for path in photos.glob("*/*.jpg"))
    specification = resolve_encoder()
    encoder = load_encoder(specification)
    for row in (0, 17, 59):
        path = Path(found.image_uris[row])
        image = decode_image(path.read_bytes(), specification.preprocessing)
        expected = encoder.encode(image.pixels[None])[0]
        np.testing.assert_allclose(found.embeddings[row], expected, atol=1e-3)
        assert found.labels[row] == (path.parent.name,)
    assert set(found.splits) == {"train", "validation", "test"}


def test_the_second_run_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=4)
    first = run(capsys, "--input", photos, "--store", tmp_path / "store")
    assert (first["listed"], first["embedded"], first["table_version"]) == (8, 8, 1)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("store/*/data/*")}
    second = run(capsys, "--input", photos, "--store", tmp_path / "store")
    assert (second["embedded"], second["reused"], second["table_version"]) == (0, 8, 1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("store/*/data/*")} == files
    assert not list(tmp_path.glob("store/*/_work/shards/*"))
    assert 0 < first["core_seconds"] < first["seconds"] * usable_cores()
    assert first["images_per_core_second"] == pytest.approx(8 / first["core_seconds"], rel=0.05)
    assert (second["core_seconds"], "images_per_core_second" in second) == (0, False)
    assert "cost" not in first
    cores, at_once = usable_cores(), images_at_once(0, "litert", usable_cores())
    assert first["lanes"] == [
        {
            "cores": cores,
            "decode_threads": cores,
            "images_in_turn": IMAGES_IN_TURN[0],
            "images_at_once": at_once,
            "settled": 0,
            "shards": 1,
        }
    ]
    assert second["lanes"] == []


@pytest.mark.parametrize("rows_in_memory", [index.ROWS_IN_MEMORY, 0], ids=["in memory", "in files"])
def test_moved_and_renamed_images_reuse_their_vectors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rows_in_memory: int
) -> None:
    monkeypatch.setattr(index, "ROWS_IN_MEMORY", rows_in_memory)
    photos = write_folder(tmp_path / "photos", per_label=4)
    run(capsys, "--input", photos, "--store", tmp_path / "store")
    before = {digest: vector.tolist() for digest, vector in zip(*both(features(tmp_path / "store")), strict=True)}
    photos = photos.rename(tmp_path / "moved")
    (photos / "disc" / "0000.jpg").rename(photos / "disc" / "renamed.jpg")
    record = run(capsys, "--input", photos, "--store", tmp_path / "store")
    assert (record["embedded"], record["reused"], record["plan"]["new"]) == (0, 8, 8)
    found = features(tmp_path / "store")
    moved = [row for row, uri in enumerate(found.image_uris) if uri.startswith(str(photos))]
    assert len(moved) == 8
    for row in moved:
        assert found.embeddings[row].tolist() == before[found.sha256[row]]
    assert not list(tmp_path.glob("store/*/_work/plan/*"))


def both(found: Features) -> tuple[list[str], np.ndarray]:
    return list(found.sha256), found.embeddings


def test_a_changed_image_replaces_its_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=3)
    run(capsys, "--input", photos, "--store", tmp_path / "store")
    (photos / "disc" / "0001.jpg").write_bytes(encoded(draw("disc", 99)))
    record = run(capsys, "--input", photos, "--store", tmp_path / "store")
    assert (record["embedded"], record["reused"], record["plan"]["changed"]) == (1, 5, 1)
    found = features(tmp_path / "store")
    assert len(found.image_ids) == len(set(found.image_ids)) == 6


def test_sync_takes_out_what_is_gone_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=3)
    other = write_folder(tmp_path / "photos2", per_label=1, first_seed=40)
    store = tmp_path / "store"
    run(capsys, "--input", photos, "--input", other, "--store", store)
    (photos / "disc" / "0001.jpg").unlink()
    kept = run(capsys, "--input", photos, "--store", store)
    assert (kept["plan"]["removed"], kept["retracted"], kept["table_version"]) == (1, 0, 1)
    assert len(features(store).image_ids) == 8
    record = run(capsys, "--input", photos, "--store", store, "--sync")
    assert (record["plan"]["removed"], record["retracted"], record["table_version"]) == (1, 1, 2)
    left = [*photos.glob("*/*.jpg"), *other.glob("*/*.jpg")]
    assert sorted(features(store).image_uris) == sorted(map(str, left))
    assert run(capsys, "--input", photos, "--store", store, "--sync")["table_version"] == 2
    everything = read_features(open_table(str(store), version=1))
    assert len(everything.image_ids) == 8


def test_labels_that_changed_replace_the_row_without_the_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "photos", per_label=2)
    manifest = tmp_path / "photos" / "m.csv"
    rows = [f"{label}/000{n}.jpg" for label in LABELS for n in range(2)]
    manifest.write_text("uri,label,camera\n" + "".join(f"{row},a,K1\n" for row in rows))
    run(capsys, "--input", manifest, "--store", tmp_path / "store")
    manifest.write_text("uri,label,camera\n" + "".join(f"{row},{'b' if '0' in row[-5] else 'a'},K1\n" for row in rows))
    record = run(capsys, "--input", manifest, "--store", tmp_path / "store")
    assert (record["embedded"], record["reused"], record["plan"]["relabelled"]) == (0, 4, 2)
    found = features(tmp_path / "store")
    assert sorted(found.labels) == [("a",), ("a",), ("b",), ("b",)]
    assert found.attributes == [{"camera": "K1"}] * 4


def test_one_bad_image_costs_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=3)
    whole = (photos / "disc" / "0000.jpg").read_bytes()
    (photos / "disc" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "disc" / "empty.jpg").touch()
    (photos / "stripes" / "page.jpg").write_text("<html>not here</html>")
    (photos / "stripes" / "<script>alert(1)<.jpg").write_bytes(whole)
    (tmp_path / "secret.png").write_bytes(encoded(draw("disc", 5), "PNG"))
    (photos / "stripes" / "link.png").symlink_to(tmp_path / "secret.png")
    record = run(capsys, "--input", photos, "--store", tmp_path / "store")
    assert (record["embedded"], record["failed"]) == (7, 4)
    letters = {Path(row["image_uri"]).name: row for row in dead_letters(tmp_path / "store")}
    assert {name: row["error_class"] for name, row in letters.items()} == {
        "cut.jpg": "TRUNCATED",
        "empty.jpg": "EMPTY",
        "page.jpg": "UNSUPPORTED_FORMAT",
        "link.png": "FORBIDDEN_URI",
    }
    assert not set(features(tmp_path / "store").image_uris) & {row["image_uri"] for row in letters.values()}
    assert letters["cut.jpg"]["labels"] == ["disc"]


def test_too_many_failures_end_with_status_1_and_lose_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_folder(tmp_path / "photos", per_label=2)
    (photos / "disc" / "empty.jpg").touch()
    line = mistake(capsys, "--input", photos, "--store", tmp_path / "store", "--max-failures", "0", status=1)
    assert line.startswith("heliograph: 1 of 5 images failed, more than --max-failures 0 allows (1 EMPTY)")
    assert len(features(tmp_path / "store").image_ids) == 4
    assert run(capsys, "--input", photos, "--store", tmp_path / "store", "--max-failures", "20%")["reused"] == 4


def test_every_bundle_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=6)
    (photos / "disc" / "empty.jpg").touch()
    record = run(
        capsys, "--input", photos, "--store", tmp_path / "store", "--shard-size", 4, "--direct_runner_bundle_repeat=1"
    )
    assert (record["listed"], record["embedded"], record["failed"]) == (13, 12, 1)
    found = features(tmp_path / "store")
    assert len(found.image_ids) == len(set(found.image_ids)) == 12
    assert open_table(str(tmp_path / "store")).version == 1
    assert len(dead_letters(tmp_path / "store")) == 1


def test_the_same_run_id_publishes_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=2)
    arguments = ["--input", photos, "--store", tmp_path / "store"]
    for _ in range(2):
        run(capsys, *arguments, "--run-id", "nightly-1")
    assert len(features(tmp_path / "store").image_ids) == 4
    assert open_table(str(tmp_path / "store")).version == 1
    (photos / "disc" / "new.jpg").write_bytes(encoded(draw("disc", 77)))
    line = mistake(capsys, *arguments, "--run-id", "nightly-1", status=1)
    assert "run id nightly-1 has published other images before, in version 1" in line
    assert run(capsys, *arguments)["resumed"] == 1
    assert len(features(tmp_path / "store").image_ids) == 5


def test_two_runs_at_once_on_one_table(tmp_path: Path, photos: Path) -> None:
    arguments = ["--input", photos, "--store", tmp_path / "store", "--shard-size", 10]
    processes = [subprocess.Popen(command(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert sorted(features(tmp_path / "store").image_uris) == sorted(map(str, photos.glob("*/*.jpg")))


def test_a_forged_marker_counts_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], many_photos: Path
) -> None:
    """Somebody who may write into the store cannot make a run touch files outside of it."""
    arguments = ["--input", many_photos, "--store", tmp_path / "store", "--shard-size", 20]
    process = subprocess.Popen(command(*arguments), cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(process, tmp_path / "store", "*/_work/shards/*.json", 2)
    process.kill()
    process.wait()
    victim = tmp_path / "victim.parquet"
    victim.write_text("mine")
    forged = list((tmp_path / "store").glob("*/_work/shards/*.json"))
    for marker, content in zip(forged, ("{}", None), strict=False):
        fields = json.loads(marker.read_text())
        fields["files"] = {"errors": "../../victim.parquet"}
        marker.write_text(content or json.dumps(fields))
    assert run(capsys, *arguments)["embedded"] == 400
    assert victim.read_text() == "mine"


def test_dry_run_tells_the_plan_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=3)
    arguments = ["--input", str(photos), "--store", str(tmp_path / "store"), "--dry-run", "--json"]
    assert embed.main([*arguments, "--price-per-core-hour", "0.05"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {name: plan[name] for name in ("listed", "new", "reused", "removed", "shards")} == {
        "listed": 6,
        "new": 6,
        "reused": 0,
        "removed": 0,
        "shards": 1,
    }
    assert plan["estimated_seconds"] > 0
    assert plan["estimated_cost"] > 0
    assert not (tmp_path / "store").exists()


def test_dry_run_tells_what_has_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, store = write_folder(tmp_path / "photos", per_label=3), tmp_path / "store"
    run(capsys, "--input", photos, "--store", store)
    (photos / "disc" / "0000.jpg").rename(photos / "disc" / "renamed.jpg")
    shutil.copy(photos / "disc" / "0001.jpg", photos / "disc" / "copied.jpg")
    (photos / "disc" / "0002.jpg").write_bytes(encoded(draw("disc", 99)))
    (photos / "disc" / "fresh.jpg").write_bytes(encoded(draw("disc", 98)))
    (photos / "disc" / "broken.jpg").touch()

    def planned(folder: Path) -> dict[str, int]:
        capsys.readouterr()
        assert embed.main(["--input", str(folder), "--store", str(store), "--dry-run", "--json", *BEAM_FLAGS]) == 0
        plan = json.loads(capsys.readouterr().out)
        return {name: plan[name] for name in ("listed", "new", "changed", "moved", "reused", "removed")}

    expected = {"listed": 9, "new": 3, "changed": 1, "moved": 1, "reused": 4, "removed": 1}
    assert planned(photos) == expected
    shutil.copytree(photos, tmp_path / "copy")
    assert planned(tmp_path / "copy")["moved"] == 1  # all others are where they were, too
    photos.rename(tmp_path / "moved")
    assert planned(tmp_path / "moved") == {**expected, "new": 3, "changed": 0, "moved": 6, "reused": 0, "removed": 0}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pipelines.embed", *map(str, arguments)]


def wait_for(process: subprocess.Popen[str], store: Path, pattern: str, count: int) -> None:
    """Waits until so many files are there, or the process is done."""
    deadline = time.monotonic() + 60
    while process.poll() is None and len(list(store.glob(pattern))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("*/data/.part*", 1), ("*/_work/shards/*.json", 3), ("*/_delta_log/*0.json", 1), ("*/_runs/*", 1)],
    ids=["in a part", "after three shards", "before the commit", "after the commit"],
)
def test_killed_and_started_again(
    tmp_path: Path, many_photos: Path, capsys: pytest.CaptureFixture[str], pattern: str, count: int
) -> None:
    arguments = ["--input", many_photos, "--store", tmp_path / "store", "--shard-size", 10]
    process = subprocess.Popen(command(*arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_for(process, tmp_path / "store", pattern, count)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL or "_runs" in pattern
    done = len(list((tmp_path / "store").glob("*/_work/shards/*.json")))
    record = run(capsys, *arguments)
    assert record["resumed"] > 0 or record["reused"] == 400 or not done
    assert record["embedded"] + record["reused"] == 400
    found = features(tmp_path / "store")
    assert sorted(found.image_uris) == sorted(map(str, many_photos.glob("*/*.jpg")))


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, many_photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--input", many_photos, "--store", tmp_path / "store", "--shard-size", 10]
    process = subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    wait_for(process, tmp_path / "store", "*/_work/shards/*.json", 2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "finished shards are kept: the same command goes on from there" in stderr
    assert "Traceback" not in stderr
    assert run(capsys, *arguments)["resumed"] >= 6


def test_ctrl_c_after_all_is_published_leaves_out_the_report_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_folder(tmp_path / "photos", per_label=1)
    (photos / "disc" / "a.jpg").touch()
    run_pipeline = runner.run_pipeline

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_pipeline", lambda *arguments: interrupt(run_pipeline(*arguments)))
    monkeypatch.setattr(publish_embedding, "render", interrupt)
    flags = ["--input", photos, "--store", tmp_path / "store"]
    assert run(capsys, *flags)["embedded"] == 2
    assert embed.main([*map(str, flags), "--max-failures", "0"]) == 1
    assert "interrupted after all was published; the report is left out" in capsys.readouterr().err
    monkeypatch.setattr(runner, "run_pipeline", interrupt)
    assert embed.main([*map(str, flags)]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err, "an earlier run's record is not this one's"


def test_mistakes_get_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=1)
    store = tmp_path / "store"
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    for name in ("train", "test", "other"):
        write_folder(tmp_path / "mixed" / name, per_label=1)
    good = ["--input", photos, "--store", store]
    cases = {
        "does not exist; did you mean": ["--input", tmp_path / "photo", "--store", store],
        "no images found": ["--input", tmp_path / "empty", "--store", store],
        "is no store, it holds thesis.txt": ["--input", photos, "--store", tmp_path / "other"],
        "is a file; name a directory": ["--input", photos, "--store", tmp_path / "other" / "thesis.txt"],
        "--shard-size: must be positive, got 0": [*good, "--shard-size", 0],
        "--split must be percentages": [*good, "--split", "80/30"],
        "--max-failures must be a number": [*good, "--max-failures", "some"],
        "--bach-size is neither a flag of ours nor of Beam's; did you mean --batch-size?": [*good, "--bach-size=3"],
        "--store": ["--input", photos],
        "would take what is written there for input": ["--input", f"{photos}/**", "--store", photos / "store"],
        "--inptu is no flag of ours; did you mean --input?": ["--inptu", photos, "--store", store],
        "did you mean --input photos?": ["photos", "--store", store],
        "did you mean --runner?": [*good, "--runer=DirectRunner"],
        "did you mean --flink_master?": [*good, "--flink_mster=x"],
        "choose from 'auto', 'cpu', 'gpu'); did you mean cpu?": [*good, "--encoder-device", "cpus"],
        "'extra' stands alone": [*good, "extra"],
        "'second' stands alone": ["--runner", "DirectRunner", *good, "second"],
        "'third' stands alone": ["--temp_location=/x", *good, "third"],
        "--label is no flag of ours; did you mean --label-column?": [*good, "--label", "cat"],
        "or 0,255, got '-1,-2'": [
            *good,
            "--pixel-range",
            "-1,-2",
        ],
        "DaskRunner is refused": [*good, "--runner=DaskRunner"],
        "direct_running_mode": [*good, "--direct_running_mode=multi_processing"],
        "--encoder": [*good, "--encoder", "efficientnet-lite9"],
        "--image-size must be": [*good, "--image-size", "big"],
        "--pixel-range must be": [*good, "--pixel-range", "1,0"],
        "--run-id must be": [*good, "--run-id", "../../x"],
        "scheme ftp:// is not read": ["--input", "ftp://host/x", "--store", store],
        "--input-root": [*good, "--input-root", tmp_path / "nowhere"],
        "--store: '' is no address": ["--input", photos, "--store", ""],
        "thesis.txt is a file": ["--input", photos, "--store", tmp_path / "other" / "thesis.txt" / "store"],
        "Beam refuses the call": [*good, "--runner=Nowhere"],
        "holds splits (test, train) and 'other' beside them": ["--input", tmp_path / "mixed", "--store", store],
    }
    for expected, arguments in cases.items():
        line = mistake(capsys, *arguments)
        assert line.startswith("heliograph: "), line
        assert expected in line
    assert not store.exists()


def test_progress_in_a_log_is_plain_lines(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.progress.LOG_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr("transforms.shards.workspace.Heartbeat.INTERVAL_SECONDS", 0.0)
    assert embed.main(["--input", str(photos), "--store", str(tmp_path / "store"), "--shard-size", "10"]) == 0
    captured = capsys.readouterr()
    assert "\r" not in captured.err + captured.out
    first, second, *lines = captured.err.splitlines()
    assert first == f"input: {photos} (folder of images)"
    assert re.match(r"encoder: efficientnet-lite0 by \w+ in float32 \(TensorFlow's vectors of the golden im", second)
    assert lines
    assert all(re.match(r"embedding \d+ of \d+ images \(\d+%\)", line) for line in lines)
    assert "60 images listed = 60 embedded + 0 reused + 0 failed" in captured.out
    assert "labels: disc 30, stripes 30" in captured.out


def test_an_encoder_that_changed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], store: Path) -> None:
    """The table's golden vectors are not those that the encoder gives."""
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    (log,) = copy.glob("*/_delta_log/*0.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    configuration = next(line["metaData"]["configuration"] for line in lines if "metaData" in line)
    key = next(name for name in configuration if "golden" in name)
    configuration[key] = _shifted(configuration[key])
    os.chmod(log, 0o644)
    log.write_text("\n".join(map(json.dumps, lines)))
    photos = write_folder(tmp_path / "new", per_label=1, first_seed=500)
    line = mistake(capsys, "--input", photos, "--store", copy, status=1)
    assert "golden" in line
    assert not list(copy.glob("*/_work/plan/*"))
    assert open_table(str(copy)).version == 1


def _shifted(text: str) -> str:
    golden = json.loads(text)
    vectors = np.frombuffer(base64.b64decode(golden["float32"]), np.float32)
    return json.dumps({**golden, "float32": base64.b64encode(vectors[::-1].tobytes()).decode()})


def test_a_collection_of_odd_images_is_rows_and_dead_letters_never_both_never_neither(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    good, bad = odd_images.good_images(), odd_images.bad_images()
    for number, image in enumerate([*good.values(), *bad.values()]):
        (photos / f"{number:04d}").write_bytes(image.data)
    record = run(capsys, "--input", f"{photos}/*", "--store", tmp_path / "store", "--max-failures", "100%")
    assert (record["listed"], record["failed"]) == (len(good) + len(bad), len(bad))
    rows = {int(Path(uri).name) for uri in features(tmp_path / "store").image_uris}
    letters = {int(Path(row["image_uri"]).name): row["error_class"] for row in dead_letters(tmp_path / "store")}
    assert rows == set(range(len(good)))
    assert letters == {len(good) + n: image.error_class.value for n, image in enumerate(bad.values())}


def test_a_part_of_an_older_form_fails_one_run_only(
    tmp_path: Path, many_photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an older release has left behind is made again, not refused for ever."""
    arguments = ["--input", many_photos, "--store", tmp_path / "store", "--shard-size", 20, "--image-size", 32]
    process = subprocess.Popen(command(*arguments), cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(process, tmp_path / "store", "*/_work/shards/*.json", 3)
    process.kill()
    process.wait()
    for path in list((tmp_path / "store").glob("*/_work/shards/*.json"))[:2]:
        marker = json.loads(path.read_text())
        part = path.parents[2] / marker["files"]["data"]
        pq.write_table(pq.read_table(part).drop_columns(["group"]), part)
        path.write_text(json.dumps({**marker, "sizes": {"data": part.stat().st_size}}))
    assert embed.main([*map(str, arguments)]) == 1
    assert "another schema" in capsys.readouterr().err.splitlines()[-1]
    assert run(capsys, *arguments)["embedded"] == 400

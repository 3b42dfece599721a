"""The whole command: from pixels and from stored features, twice, with bad images, mistaken; and the served model."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines import embed, score, train
from tests.flags import BEAM_FLAGS
from tests.photographs import draw, encoded, write_folder
from transforms.encoders import openvino_engine
from transforms.encoders.resolve import load_encoder
from transforms.model.directory import ModelDirectory
from transforms.shards import predictor
from transforms.store.catalog import open_table
from transforms.store.read import read_features


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert score.main([*map(str, arguments), "--json", *BEAM_FLAGS]) == status
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert record["listed"] == record["scored"] + record["reused"] + record["failed"]
    return record


def mistake(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 2) -> str:
    capsys.readouterr()
    assert score.main([*map(str, arguments)]) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("input: ")]
    assert len(lines) == 1, lines
    return lines[0]


def predictions(output: Path) -> dict[str, dict[str, Any]]:
    files = json.loads((output / "run.json").read_text())["files"]
    names = [name for name in files if name.startswith("predictions_") and name.endswith(".parquet")]
    rows = [row for name in names for row in pq.read_table(output / name).to_pylist()]
    assert len({row["image_uri"] for row in rows}) == len(rows)
    return {row["image_uri"]: row for row in rows}


def test_predictions_lead_back_to_everything(
    tmp_path: Path, photos: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", photos, "--model", model, "--output", tmp_path, "--price-per-core-hour", 0.04]
    record = run(capsys, *arguments, "--format", "parquet,jsonl,csv")
    assert record["cost"] == pytest.approx(record["core_seconds"] / 3600 * 0.04, abs=1e-6)
    rows = predictions(tmp_path)
    assert sorted(rows) == sorted(map(str, photos.glob("*/*.jpg")))
    opened = ModelDirectory.open(str(model))
    right = 0
    for uri, row in rows.items():
        assert row["model_version"] == opened.identifier
        assert sorted(row["displayNames"]) == ["disc", "stripes"]
        assert row["confidences"] == sorted(row["confidences"], reverse=True)
        assert sum(row["confidences"]) == pytest.approx(1, abs=1e-5)
        assert row["labels"] == [Path(uri).parent.name]
        with Image.open(uri) as image:
            assert (row["width"], row["height"], row["format"]) == (*image.size, "JPEG")
            mean = np.asarray(image.convert("RGB")).mean() / 255
        assert row["byte_size"] == Path(uri).stat().st_size
        assert row["brightness"] == pytest.approx(mean, abs=0.02)
        right += row["displayNames"][0] == row["labels"][0]
    assert right >= 57
    assert sum(record["classes"].values()) == len(rows)
    assert {*record["classes"]} == {"disc", "stripes"}
    assert record["model"]["encoder_fingerprint"] == opened.encoder.fingerprint
    lines = [json.loads(line) for path in tmp_path.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert {line["instance"]["content"] for line in lines} == set(rows)
    for line in lines:
        row = rows[line["instance"]["content"]]
        assert line["instance"]["mimeType"] == "image/jpeg"
        assert line["prediction"]["displayNames"] == row["displayNames"]
        np.testing.assert_allclose(line["prediction"]["confidences"], row["confidences"], rtol=1e-6)
    table = [row for path in tmp_path.glob("*.csv") for row in csv.DictReader(path.open())]
    assert {row["image_uri"]: row["prediction"] for row in table} == {u: r["displayNames"][0] for u, r in rows.items()}


def test_the_second_run_changes_nothing(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=4, first_seed=70)
    output = tmp_path / "out"
    arguments = ["--input", photos, "--model", model, "--output", output]
    run(capsys, *arguments)
    files = {path.name: path.stat().st_mtime_ns for path in output.glob("predictions_*")}
    second = run(capsys, *arguments)
    assert second["resumed"] == second["scored"] == 8
    assert {path.name: path.stat().st_mtime_ns for path in output.glob("predictions_*")} == files
    (photos / "disc" / "0000.jpg").unlink()
    third = run(capsys, *arguments)
    assert (third["resumed"], third["scored"]) == (0, 7)
    assert len(predictions(output)) == 7
    assert len(list(output.glob("predictions_*.parquet"))) == 1


def test_other_predictions_are_not_replaced_in_silence(
    tmp_path: Path, photos: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", str(photos / "disc"), "--model", str(model), "--output", str(tmp_path)]
    (tmp_path / "run.json").write_text('{"model": {"identifier": "others/7"}, "files": []}')
    assert score.main(arguments) == 0
    assert "has predictions of model others/7" in capsys.readouterr().err
    assert score.main(arguments) == 0
    captured = capsys.readouterr()
    assert "has predictions of model" not in captured.err
    assert "classes: disc 30" in captured.out


def test_stored_features_are_scored_without_a_pixel(
    tmp_path: Path,
    store: Path,
    model: Path,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(capsys, "--input", photos, "--model", model, "--output", tmp_path / "pixels")
    monkeypatch.setattr("transforms.shards.readahead.read_image", lambda *_: pytest.fail("an image was read"))
    record = run(capsys, "--store", store, "--model", model, "--output", tmp_path / "stored")
    assert record["scored"] == 60
    pixels, stored = predictions(tmp_path / "pixels"), predictions(tmp_path / "stored")
    assert sorted(pixels) == sorted(stored)
    for uri, row in stored.items():
        assert row["image_id"] == pixels[uri]["image_id"]
        assert row["sha256"] == pixels[uri]["sha256"]
        assert row["displayNames"] == pixels[uri]["displayNames"]
        np.testing.assert_allclose(row["confidences"], pixels[uri]["confidences"], atol=1e-4)


def test_bad_images_stand_beside_the_predictions_and_every_bundle_runs_twice(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_folder(tmp_path / "photos", per_label=4)
    (photos / "disc" / "empty.jpg").touch()
    output = tmp_path / "out"
    arguments = ["--input", photos, "--model", model, "--output", output, "--shard-size", 3]
    record = run(capsys, *arguments, "--direct_runner_bundle_repeat=1")
    assert (record["scored"], record["failed"]) == (8, 1)
    assert len(predictions(output)) == 8
    errors = [row for path in output.glob("errors_*.parquet") for row in pq.read_table(path).to_pylist()]
    assert [(Path(row["image_uri"]).name, row["error_class"]) for row in errors] == [("empty.jpg", "EMPTY")]


def test_killed_and_started_again(
    tmp_path: Path, many_photos: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", many_photos, "--model", model, "--output", tmp_path / "out", "--shard-size", 10]
    call = [sys.executable, "-m", "pipelines.score", *map(str, arguments)]
    process = subprocess.Popen(call, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    while len(list(tmp_path.glob("out/_work/shards/*.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not list(tmp_path.glob("out/predictions_*")), "readers never see half a run"
    record = run(capsys, *arguments)
    assert record["resumed"] > 0
    assert sorted(predictions(tmp_path / "out")) == sorted(map(str, many_photos.glob("*/*.jpg")))


def test_what_an_interrupted_run_left_is_cleared(
    tmp_path: Path, photos: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that died between its renames and its record; then the images changed."""
    output = tmp_path / "out"
    run(capsys, "--input", photos / "disc", "--model", model, "--output", output)
    (output / "run.json").unlink()
    (output / "notes.txt").write_text("mine")
    run(capsys, "--input", photos / "stripes", "--model", model, "--output", output)
    names = {path.name for path in output.glob("predictions_*")}
    assert names == set(json.loads((output / "run.json").read_text())["files"])
    assert (output / "notes.txt").exists()


def test_a_failure_that_may_pass_is_tried_again(
    tmp_path: Path, photos: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("uri\n" + "".join(f"{path}\n" for path in photos.glob("disc/*.jpg")))
    arguments = ["--input", manifest, "--model", model, "--output", tmp_path / "out"]
    capsys.readouterr()
    assert score.main([*map(str, arguments), "--json"]) == 1
    assert "name a folder that holds it with --input-root" in capsys.readouterr().err
    assert run(capsys, *arguments, "--input-root", photos)["scored"] == 30


def test_predictions_that_were_cut_short_are_made_again(
    tmp_path: Path, photos: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", photos / "disc", "--model", model, "--output", tmp_path]
    run(capsys, *arguments)
    (path,) = tmp_path.glob("*.jsonl")
    whole = path.read_text()
    path.write_text(whole[:100])
    run(capsys, *arguments)
    assert path.read_text() == whole


def test_top_k_keeps_the_best(tmp_path: Path, photos: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "--input", photos / "disc", "--model", model, "--output", tmp_path, "--top-k", 1)
    assert {tuple(row["displayNames"]) for row in predictions(tmp_path).values()} <= {("disc",), ("stripes",)}


def test_a_csv_formula_is_neutralised(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(encoded(draw("disc", 3)))
    (photos / "m.csv").write_text('uri,label\na.jpg,"=HYPERLINK(""x"")"\n')
    run(capsys, "--input", photos / "m.csv", "--model", model, "--output", tmp_path / "out", "--format", "csv")
    (path,) = (tmp_path / "out").glob("predictions_*.csv")
    assert [row["labels"] for row in csv.DictReader(path.open())] == ['\'=HYPERLINK("x")']


def test_the_served_model_sees_the_same_bytes_and_says_the_same(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JPEGs of many sizes, large enough for scaled decoding, and PNGs of several modes."""
    import tensorflow as tf

    photos = tmp_path / "photos"
    photos.mkdir()
    sizes = [(37, 41), (300, 300), (449, 450), (901, 640), (1600, 1200), (2000, 500)]
    for number, size in enumerate(sizes):
        (photos / f"{number}.jpg").write_bytes(encoded(draw("disc", number, size), "JPEG", quality=80))
        mode = ("RGB", "L", "P", "RGBA", "LA", "1")[number]
        (photos / f"{number}.png").write_bytes(encoded(draw("stripes", number, size, mode), "PNG"))
    run(capsys, "--input", photos, "--model", model, "--output", tmp_path / "out")
    rows = predictions(tmp_path / "out")
    served = tf.saved_model.load(ModelDirectory.open(str(model)).path).signatures["serving_default"]
    labels = ModelDirectory.open(str(model)).labels
    for uri, row in rows.items():
        answer = served(key=tf.constant(["k"]), image_bytes=tf.constant([Path(uri).read_bytes()]))
        batch = dict(zip(row["displayNames"], row["confidences"], strict=True))
        expected = np.array([[batch[label] for label in labels]])
        np.testing.assert_allclose(answer["scores"].numpy(), expected, atol=1e-4)
        assert answer["prediction"].numpy().tolist() == [row["displayNames"][0].encode()]


def test_mistakes_get_one_line(
    tmp_path: Path, photos: Path, store: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    half = tmp_path / "half"
    shutil.copytree(model, half)
    (half / "1" / "head.npz").unlink()
    good = ["--model", model, "--output", output]
    cases = {
        "takes either --input (images) or --store": good,
        "it does not exist": ["--input", photos, "--model", tmp_path / "none", "--output", output],
        "is half there: head.npz is missing": ["--input", photos, "--model", half, "--output", output],
        "--format must be some of parquet,jsonl,csv, got 'xml'": [*good, "--input", photos, "--format", "xml"],
        "--top-k: must be positive, got 0": [*good, "--input", photos, "--top-k", 0],
        "does not exist": [*good, "--store", tmp_path / "nowhere"],
        "holds other things": ["--model", model, "--input", photos, "--output", photos],
        "has no rows at version 0": [*good, "--store", store, "--version", 0],
        "has no version 99": [*good, "--store", store, "--version", 99],
    }
    for expected, arguments in cases.items():
        assert expected in mistake(capsys, *arguments)
    assert not output.exists()


def test_a_head_of_another_encoder_is_refused(
    tmp_path: Path, photos: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "store"
    assert embed.main(["--input", str(photos), "--store", str(other), "--resize", "bicubic"]) == 0
    line = mistake(capsys, "--store", other, "--model", model, "--output", tmp_path / "out")
    assert "has no table of" in line
    assert len(read_features(open_table(str(other))).image_ids) == 60


def test_views_are_averaged(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=3, first_seed=700)
    call = ("--input", photos, "--model", model, "--output", tmp_path / "out")
    run(capsys, *call)
    plain = {uri: row["confidences"][0] for uri, row in predictions(tmp_path / "out").items()}
    record = run(capsys, *call, "--tta", 3, "--augment", "texture")
    assert record["scored"] == 6, "the predictions without views were taken for those with views"
    assert (record["configuration"]["score"]["tta"], record["configuration"]["score"]["augment"]) == (3, "texture")
    averaged = {uri: row["confidences"][0] for uri, row in predictions(tmp_path / "out").items()}
    assert averaged.keys() == plain.keys()
    assert averaged != plain
    for row in predictions(tmp_path / "out").values():
        assert sum(row["confidences"]) == pytest.approx(1, abs=1e-4)
    assert run(capsys, *call, "--tta", 3, "--augment", "texture")["resumed"] == 6
    assert "--tta needs pixels" in mistake(capsys, "--store", photos, *call[2:], "--tta", 3)
    assert "say how many with --tta" in mistake(capsys, *call, "--augment", "medical")


def test_a_gpu_is_for_tensorflow_s_networks(
    tmp_path: Path,
    photos: Path,
    store: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = ["--model", model, "--output", tmp_path / "out", "--encoder-device", "gpu"]
    assert mistake(capsys, "--store", store, *flags) == (
        "heliograph: --encoder-device gpu: no network runs on stored features; leave it out"
    )
    engine = ModelDirectory.open(str(model)).encoder.engine
    assert f"the model's vectors are those of {engine}, on processors" in mistake(capsys, "--input", photos, *flags)
    asked = []

    def load(*arguments: Any, device: str, **options: Any) -> Any:
        asked.append(device)
        return load_encoder(*arguments, device=device, **options)

    monkeypatch.setattr(predictor, "load_encoder", load)
    run(capsys, "--input", photos / "disc", *flags[:-1], "cpu")
    assert asked == ["cpu"]


def test_a_model_of_an_engine_that_is_not_installed_here_scores_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_folder(tmp_path / "photos", per_label=6)
    store, trained = tmp_path / "store", tmp_path / "model"
    where = ["--input", str(photos), "--store", str(store)]
    assert embed.main([*where, "--engine", "openvino", "--split", "60/20/20", "--no-report"]) == 0
    assert train.main(["--store", str(store), "--model", str(trained), "--train-epochs", "2"]) == 0
    flags = ["--input", photos, "--model", trained, "--output"]
    run(capsys, *flags, tmp_path / "there")
    monkeypatch.setattr(openvino_engine, "is_installed", lambda: False)
    capsys.readouterr()
    assert score.main([*map(str, flags), str(tmp_path / "here"), *BEAM_FLAGS]) == 0
    assert (
        "openvino, which computed the model's features, is not installed here; litert does" in capsys.readouterr().err
    )
    there, here = predictions(tmp_path / "there"), predictions(tmp_path / "here")
    assert there.keys() == here.keys()
    for uri, row in there.items():
        assert here[uri]["displayNames"] == row["displayNames"]
        np.testing.assert_allclose(here[uri]["confidences"], row["confidences"], atol=1e-5)

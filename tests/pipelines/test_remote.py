"""The whole way on S3 and on Cloud Storage: images, store, model, predictions and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines import cnn, embed, evaluate, finetune, models, score, store, train
from pipelines.training.publish import publish
from tests.emulators import put
from tests.image_sets import samples, webdataset
from tests.pipelines.training.builders import save_tiny_encoder
from transforms.encoders import resolve
from transforms.files.filesystem import open_filesystem, read_bytes
from transforms.model.directory import ModelDirectory, versions

pytestmark = pytest.mark.slow

IMAGES = samples(24)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = save_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny.keras", dimension=16)
    return ["--encoder", path, "--pixel-range", "0,1"]


def test_everything_lies_in_an_object_store(
    bucket: str, encoder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: Any, *words: str) -> dict[str, Any]:
        capsys.readouterr()
        status = command.main([*words, "--json"])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        record: dict[str, Any] = json.loads(printed.out)
        return record

    def embedded(source: str) -> tuple[int, ...]:
        record = run(embed, "--input", f"{bucket}/{source}", "--store", f"{bucket}/store", *encoder)
        return record["listed"], record["embedded"], record["reused"], record["failed"]

    for image in IMAGES:
        put(f"{bucket}/photos/{image.path}", image.data)
    assert embedded("photos") == (24, 24, 0, 0)
    assert embedded("photos/**/*.jpg") == (24, 0, 24, 0), "unchanged objects are not embedded again"
    put(f"{bucket}/photos/{IMAGES[0].path}", samples(25)[24].data)
    put(f"{bucket}/list.csv", _manifest(bucket))
    assert embedded("list.csv") == (24, 1, 23, 0), "a changed object is noticed, also behind a manifest"
    put(f"{bucket}/shard.tar", webdataset(IMAGES))
    assert embedded("shard.tar") == (24, 1, 23, 0), "all vectors but the changed image's are known by their content"

    model, output = f"{bucket}/models/m", f"{bucket}/predictions"
    assert run(train, "--store", f"{bucket}/store", "--model", model, "--train-epochs", "1")
    assert run(score, "--input", f"{bucket}/photos", "--model", model, "--output", output)["scored"] == 24
    assert run(score, "--store", f"{bucket}/store", "--model", f"{model}/1", "--output", f"{output}2")["scored"] == 48
    run(evaluate, "--predictions", output, "--output", f"{bucket}/report")
    assert b"<html" in read_bytes(*open_filesystem(f"{bucket}/report/report.html"))

    def keep(action: str, *words: str) -> dict[str, Any]:
        (table,) = run(store, action, "--store", f"{bucket}/store", *words)["tables"]
        return dict(table)

    assert keep("show")["rows"] == 48
    assert keep("compact")["version"] == 4
    assert keep("retract", "--image-uri", f"{bucket}/photos/{IMAGES[1].path}")["version"] == 5
    assert len(keep("vacuum", "--retention-hours", "0", "--force")["replaced"]) > 2
    assert keep("verify")["problems"] == []
    assert embedded("photos") == (24, 0, 24, 0), "the retracted image is back, its vector known from the tar file"


def test_a_network_is_trained_into_an_object_store_and_scored_on_another_machine(
    bucket: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"{bucket}/models/m"
    fast = ["--image-size", "16", "--train-epochs", "1", "--filters", "4", "--augment", "none"]
    assert cnn.main(["--input", str(photos), "--model", model, *fast]) == 0
    monkeypatch.setenv("HELIOGRAPH_CACHE", str(tmp_path / "cache"))
    resolve._LOADED.clear()
    score_words = ["--input", str(photos), "--model", model, "--output"]
    assert score.main([*score_words, str(tmp_path / "scores")]) == 0, capsys.readouterr().err
    (copy,) = (tmp_path / "cache" / "encoders").iterdir()
    assert copy.name == ModelDirectory.open(model).encoder.weights_sha256
    assert [path.name for path in copy.iterdir()] == ["encoder.keras"]
    resolve._LOADED.clear()
    before = (copy / "encoder.keras").stat().st_mtime_ns
    assert finetune.main(["--input", str(photos), "--model", model, "--train-epochs", "1", "--augment", "none"]) == 0
    assert versions(model) == [1, 2]
    photo, pictures = str(photos / "disc" / "0003.jpg"), f"{bucket}/pictures"
    assert models.main(["pictures", f"{model}/1", "--input", photo, "--output", pictures]) == 0
    assert read_bytes(*open_filesystem(f"{pictures}/heat_0.png")).startswith(b"\x89PNG")
    assert (copy / "encoder.keras").stat().st_mtime_ns == before, "it is copied once"


def test_two_trainings_do_not_mix_in_one_version(bucket: str, tmp_path: Path) -> None:
    def fill(directory: str) -> None:
        Path(directory, "labels.txt").write_text("b")

    def seal(directory: str, version: int) -> None:
        Path(directory, "model.json").write_text(str(version))
        if version == 2:  # the other one begins to upload at this moment
            put(f"{bucket}/m/2/labels.txt", b"a")

    assert [publish(f"{bucket}/m", fill, seal) for _ in range(2)] == [1, 3]
    assert read_bytes(*open_filesystem(f"{bucket}/m/2/labels.txt")) == b"a"
    assert versions(f"{bucket}/m") == [1, 3], "a version that is not all there is none"
    put(f"{bucket}/m/4/labels.txt", b"a")
    assert publish(f"{bucket}/m", fill, seal) == 5


def _manifest(bucket: str) -> bytes:
    rows = [f"{bucket}/photos/{image.path},{image.label},{image.split}\n" for image in IMAGES]
    return "".join(["uri,label,split\n", *rows]).encode()

"""The whole way on S3 and on Cloud Storage: images, store, model, predictions and report."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines import embed, evaluate, score, store, train
from tests.emulators import put
from tests.image_sets import samples, webdataset
from tests.pipelines.training.builders import save_tiny_encoder
from transforms.files.filesystem import open_filesystem, read_bytes

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


def _manifest(bucket: str) -> bytes:
    rows = [f"{bucket}/photos/{image.path},{image.label},{image.split}\n" for image in IMAGES]
    return "".join(["uri,label,split\n", *rows]).encode()

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from pipelines import embed, score, store, train
from tests.photographs import write_folder
from transforms.encoders import calibration, conversion, resolve
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import import_keras
from transforms.shards import comparison
from transforms.store.table import FeatureTable


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    keras = import_keras()
    keras.utils.set_random_seed(3)
    convolutions = [keras.layers.Conv2D(16, 3, strides=2, activation="relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((40, 40, 3)), *convolutions, keras.layers.GlobalAveragePooling2D()])
    path = str(tmp_path_factory.mktemp("encoder") / "small.keras")
    model.save(path)
    return path


def test_int8_from_images_to_predictions(
    encoder: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network that the first run calibrates is what every later command computes with, on any machine."""

    def convert(specification: object, trust: bool, directory: str) -> None:
        conversion.convert(specification, trust, pathlib.Path(directory))  # type: ignore[arg-type]

    def another_machine(number: int) -> None:
        monkeypatch.setenv(conversion.CACHE_VARIABLE, str(tmp_path / f"cache{number}"))
        monkeypatch.setattr(resolve, "_LOADED", {})

    monkeypatch.setattr(conversion, "convert_in_process", convert)
    another_machine(1)
    photos = write_folder(tmp_path / "photos", per_label=20)
    flags = ["--store", str(tmp_path / "store"), "--encoder", encoder, "--pixel-range=0,1", "--precision", "int8"]
    arguments = ["--input", str(photos), *flags, "--split", "60/20/20", "--no-report", "--json"]
    assert embed.main([*arguments, "--dry-run"]) == 0
    assert not (tmp_path / "store").exists()
    capsys.readouterr()
    assert embed.main(arguments) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert "by litert in int8 (calibrated on 32 images of the input" in err
    assert (record["engine"], record["precision"], record["calibration"]["images"]) == ("litert", "int8", 32)
    assert 0.99 < record["calibration"]["least"] <= record["calibration"]["mean"] < 1

    compared = record["cosine_to_tensorflow"]
    assert (compared["images"], compared["of"]) == (32, "the images of this run")
    assert compared["with"] == "litert in float32", "a short run does not load TensorFlow"
    assert "warning" not in record["calibration"]
    assert 0.99 < compared["least"] <= compared["mean"] < 1

    table = FeatureTable.open(record["table"])
    asked: list[int] = []

    def by_tensorflow(specification: EncoderSpecification, pixels: np.ndarray, _: bool) -> np.ndarray:
        asked.append(len(pixels))
        return resolve.load_encoder(conversion.reference(specification)).encode(pixels)

    monkeypatch.setattr(comparison, "encode_by_tensorflow", by_tensorflow)
    files = [file.uri for file in table.data_files()]
    long = comparison.compare_stored(table.specification, files, [str(photos)], comparison.WORTH_SECONDS)
    assert (asked, long["with"]) == ([32], "tensorflow")
    np.testing.assert_allclose(long["mean"], compared["mean"], atol=1e-4)
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "usable_memory", lambda: comparison.WORTH_MEMORY - 1)
        little = comparison.compare_stored(table.specification, files, [str(photos)], comparison.WORTH_SECONDS)
    assert (asked, little["with"]) == ([32], "litert in float32")
    for engine, name in (("openvino", "litert in float32"), ("litert", "tensorflow")):
        exact = dataclasses.replace(conversion.reference(table.specification), engine=engine)
        assert comparison.compare_stored(exact, files, [str(photos)], 119.0)["with"] == name
    elsewhere = comparison.compare_stored(table.specification, files, [str(tmp_path / "elsewhere")], 0.0)
    assert elsewhere["of"] == "the golden images", "what cannot be read again is not compared"

    another_machine(2)
    monkeypatch.setattr(calibration, "LEAST_MEAN", 1.0)
    write_folder(photos, per_label=5, first_seed=900)  # a listing that would draw another sample
    assert embed.main(arguments) == 0
    out, err = capsys.readouterr()
    assert "(the engine of the table)" in err
    assert json.loads(out)["encoder_fingerprint"] == record["encoder_fingerprint"]
    warning = json.loads(out)["calibration"]["warning"]
    assert err.count(f"heliograph: note: {warning}\n") == 1, "every run that adds to the table says so"

    another_machine(3)
    model = str(tmp_path / "model")
    assert train.main(["--store", str(tmp_path / "store"), "--model", model, "--train-epochs", "3"]) == 0
    another_machine(4)
    monkeypatch.setattr(conversion, "convert_in_process", None)
    predictions = str(tmp_path / "predictions")
    assert score.main(["--input", str(photos), "--model", model, "--output", predictions]) == 0
    another_machine(5)
    assert store.main(["verify", "--store", str(tmp_path / "store")]) == 0

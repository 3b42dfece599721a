from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.transforms.model.builders import GOLDEN, array, encoder, linear_head, write_version
from transforms.errors import ModelError
from transforms.model.directory import ModelDirectory, versions


def test_the_newest_version_by_number_is_opened(tmp_path: Path) -> None:
    for version in (2, 9, 10):
        write_version(tmp_path / "m" / str(version), linear_head(temperature=float(version)))
    (tmp_path / "m" / ".0123.tmp").mkdir()
    (tmp_path / "m" / "011").mkdir()
    (tmp_path / "m" / "notes.txt").write_text("not a version")
    model = ModelDirectory.open(str(tmp_path / "m"))
    assert (model.version, model.path) == (10, str(tmp_path / "m" / "10"))
    assert model.head.temperature == 10.0
    assert versions(str(tmp_path / "m")) == [2, 9, 10]


def test_a_version_is_opened_by_name(tmp_path: Path) -> None:
    for version in (1, 2):
        write_version(tmp_path / str(version), linear_head(temperature=float(version)))
    model = ModelDirectory.open(str(tmp_path / "1") + "/")
    assert (model.version, model.head.temperature) == (1, 1.0)


def test_what_a_model_says_of_itself(tmp_path: Path) -> None:
    write_version(tmp_path / "1")
    model = ModelDirectory.open(str(tmp_path))
    assert model.labels == ("cat", "dog")
    assert model.encoder == encoder()
    assert model.head.to_bytes() == linear_head().to_bytes()
    np.testing.assert_array_equal(model.golden, GOLDEN)
    assert model.metrics == {"validation": {"accuracy": 0.5}, "test": None}
    assert model.identifier == f"1-{linear_head().digest[:8]}"
    assert model.provenance() == {
        "path": str(tmp_path / "1"),
        "version": 1,
        "identifier": model.identifier,
        "alias": "",
        "head_sha256": linear_head().digest,
        "encoder": "tiny",
        "encoder_fingerprint": encoder().fingerprint,
        "data": {"table": "tiny-00000000", "table_version": 3},
    }


def test_there_are_no_versions_where_nothing_is(tmp_path: Path) -> None:
    assert versions(str(tmp_path / "nothing")) == []


@pytest.mark.parametrize(
    "name", ["head.npz", "saved_model.pb", "model.json", "golden.npy", "metrics.json", "config.json"]
)
def test_a_model_that_is_half_there_is_refused_with_what_is_missing(tmp_path: Path, name: str) -> None:
    (write_version(tmp_path / "1") / name).unlink()
    with pytest.raises(ModelError, match=rf"1 is half there: {name}.*name another version of the model, or train"):
        ModelDirectory.open(str(tmp_path))


def test_an_empty_version_is_half_there(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    with pytest.raises(ModelError, match=r"half there: model\.json"):
        ModelDirectory.open(str(tmp_path))


def test_a_file_that_was_cut_short_is_noticed(tmp_path: Path) -> None:
    (write_version(tmp_path / "1") / "saved_model.pb").write_bytes(b"gra")
    with pytest.raises(ModelError, match=r"damaged: saved_model\.pb has 3 bytes, not 5"):
        ModelDirectory.open(str(tmp_path))


def test_a_head_of_another_training_is_noticed(tmp_path: Path) -> None:
    directory = write_version(tmp_path / "1")
    (directory / "head.npz").write_bytes(linear_head(mean=array(3, 2, 1)).to_bytes())
    with pytest.raises(ModelError, match=r"1: head\.npz is not the one that model\.json describes"):
        ModelDirectory.open(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2 is unknown, this version reads 1"),
        ({"encoder_fingerprint": "0" * 16}, "the encoder in model.json is not the head's"),
        ({"encoder": {}}, "model.json lacks or garbles"),
        ({"files": None}, "model.json lacks or garbles"),
        ({"head": {}}, "cannot be read"),
    ],
)
def test_a_garbled_description_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_version(tmp_path / "1", **changes)
    with pytest.raises(ModelError, match=message) as caught:
        ModelDirectory.open(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [("{", "is no JSON"), ("[]", "holds no object"), ("\xff", "no JSON")])
def test_a_description_that_is_no_object_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (write_version(tmp_path / "1") / "model.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ModelError, match=message):
        ModelDirectory.open(str(tmp_path))


def test_golden_vectors_of_another_encoder_are_refused(tmp_path: Path) -> None:
    np.save(write_version(tmp_path / "1") / "golden.npy", np.zeros((2, 7), np.float32))
    with pytest.raises(ModelError, match=r"golden\.npy holds float32\[2, 7\]"):
        ModelDirectory.open(str(tmp_path))


def test_paths_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        ModelDirectory.open(str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="holds no version of a model"):
        ModelDirectory.open(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="is no model directory"):
        ModelDirectory.open(str(tmp_path / "file"))
    with pytest.raises(ModelError, match="scheme ftp:// is not read"):
        ModelDirectory.open("ftp://host/model")


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    write_version(tmp_path / "1")
    model = ModelDirectory.open(str(tmp_path))
    model.check_encoder(encoder())
    other = encoder(weights="1" * 64)
    with pytest.raises(
        ModelError, match=f"fitted on encoder tiny \\({encoder().fingerprint}\\), not on tiny"
    ) as caught:
        model.check_encoder(other)
    assert other.fingerprint in str(caught.value)


def test_model_json_is_readable_without_our_code(tmp_path: Path) -> None:
    fields = json.loads((write_version(tmp_path / "1") / "model.json").read_text())
    assert fields["head"]["labels"] == ["cat", "dog"]

import os
import shutil

import numpy as np
import pytest

from transforms.encoders.digest import directory_digest, file_digest, values_digest
from transforms.errors import EncoderError


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model"
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"graph")
    (path / "variables" / "variables.index").write_bytes(b"index")
    return path


def test_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(EncoderError, match="cannot be read"):
        file_digest(tmp_path / "b")


def test_place_times_and_ignored_files_do_not_count(model, tmp_path):
    digest = directory_digest(model)
    copy = shutil.copytree(model, tmp_path / "copy")
    os.utime(copy / "saved_model.pb", (1, 1))
    (copy / ".DS_Store").write_bytes(b"x")
    (copy / "README.md").write_bytes(b"x")
    assert directory_digest(copy) == digest


def test_contents_and_names_count(model):
    digests = [directory_digest(model)]
    (model / "variables" / "variables.index").write_bytes(b"indeX")
    digests.append(directory_digest(model))
    (model / "variables" / "variables.index").rename(model / "variables" / "other")
    digests.append(directory_digest(model))
    (model / "assets").mkdir()
    (model / "assets" / "labels").write_bytes(b"")
    digests.append(directory_digest(model))
    assert len(set(digests)) == 4


def test_values():
    ones = np.ones((2, 3), np.float32)
    digests = {
        values_digest("net", [ones]),
        values_digest("other", [ones]),
        values_digest("net", [ones.T]),
        values_digest("net", [ones.astype(np.float64)]),
        values_digest("net", [ones * 2]),
        values_digest("net", [ones, ones]),
    }
    assert len(digests) == 6
    assert values_digest("net", [ones[:, ::-1]]) in digests

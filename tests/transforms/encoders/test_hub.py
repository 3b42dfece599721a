import hashlib
import shutil
import time

import numpy as np
import pytest

from tests.transforms.encoders.conftest import WEIGHT, mean_colours
from transforms.encoders import resolve
from transforms.errors import EncoderError

HUB = "https://tfhub.dev/someone/tiny/1"
KAGGLE = "someone/tiny/tensorFlow2/vector/1"


def _check(handle, pixels, name):
    specification = resolve.resolve_encoder(handle)
    assert (specification.source, specification.name) == (handle, name)
    assert (specification.scale, specification.offset) == ((1 / 255,) * 3, (0.0,) * 3)
    vectors = resolve.load_encoder(specification).encode(pixels)
    np.testing.assert_allclose(vectors, mean_colours(pixels) / 255 @ WEIGHT, rtol=1e-4, atol=1e-4)


def test_a_handle_of_tf_hub_in_its_cache(save_module, project, pixels, tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    cached = tmp_path / "cache" / hashlib.sha1(HUB.encode()).hexdigest()
    shutil.copytree(save_module(project), cached)
    _check(HUB, pixels, "tiny")


def test_a_handle_of_kaggle(save_module, project, pixels, monkeypatch):
    import kagglehub

    asked = []
    path = save_module(project, weight=WEIGHT.astype(np.float32))
    monkeypatch.setattr(kagglehub, "model_download", lambda handle: asked.append(handle) or path)
    _check(KAGGLE, pixels, "tiny-vector")
    assert set(asked) == {KAGGLE}


@pytest.mark.parametrize("handle", [HUB, KAGGLE])
def test_a_failed_download_says_so_at_once(handle, tmp_path, monkeypatch):
    import urllib.request

    import kagglehub

    def fail(*arguments, **keywords):
        raise ConnectionError("no route\nto host")

    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", fail)
    monkeypatch.setattr(kagglehub, "model_download", fail)
    begin = time.monotonic()
    with pytest.raises(EncoderError, match=r"could not be downloaded .ConnectionError: no route.*give the directory"):
        resolve.resolve_encoder(handle)
    assert time.monotonic() - begin < 5


def test_what_came_must_be_a_model(tmp_path, monkeypatch):
    import kagglehub

    monkeypatch.setattr(kagglehub, "model_download", lambda handle: str(tmp_path))
    with pytest.raises(EncoderError, match="neither a SavedModel nor one"):
        resolve.resolve_encoder(KAGGLE)

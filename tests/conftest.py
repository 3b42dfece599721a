"""Fixtures that several tests share: the default encoder's store and model of drawn photographs, made once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.emulators import emulator
from tests.photographs import write_folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 30 pictures of each of two labels; not to be changed."""
    return write_folder(tmp_path_factory.mktemp("photos"), per_label=30)


@pytest.fixture(scope="session")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 200 pictures of each of two labels: enough work to be interrupted; not to be changed."""
    return write_folder(tmp_path_factory.mktemp("many"), per_label=200, first_seed=5000)


@pytest.fixture(scope="session")
def store(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the default encoder's vectors of ``photos``; not to be changed."""
    from pipelines import embed

    path = tmp_path_factory.mktemp("store")
    assert embed.main(["--input", str(photos), "--store", str(path), "--split", "60/20/20"]) == 0
    return path


@pytest.fixture(scope="session")
def model(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on ``store``; not to be changed."""
    from pipelines import train

    path = tmp_path_factory.mktemp("models") / "shapes"
    assert train.main(["--store", str(store), "--model", str(path), "--train-epochs", "20"]) == 0
    return path


@pytest.fixture(scope="session", params=["s3", "gs"])
def object_store(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """An emulator of S3, then one of Cloud Storage: the environment that points at it, and the ADDRESS of a bucket."""
    if request.param == "gs":
        pytest.importorskip("google.cloud.storage", reason="pip install 'heliograph[gcp]'")
    with emulator(request.param) as environment:
        yield environment


@pytest.fixture
def bucket(object_store: dict[str, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty directory on S3, then of one on Cloud Storage."""
    for name, value in object_store.items():
        monkeypatch.setenv(name, value)
    return f"{object_store['ADDRESS']}/{request.node.originalname}"

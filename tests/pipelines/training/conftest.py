"""A tiny encoder, once a session: saving, describing and loading it takes a second."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pipelines.training.builders import save_tiny_encoder
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.encoders.specification import EncoderSpecification


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> EncoderSpecification:
    path = save_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny.keras")
    return resolve_encoder(path, pixel_range=(-1.0, 1.0))


@pytest.fixture(scope="session")
def loaded_encoder(tiny_encoder: EncoderSpecification) -> Any:
    return load_encoder(tiny_encoder)

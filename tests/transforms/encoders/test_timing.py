from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from transforms.encoders import conversion, timing
from transforms.encoders.resolve import resolve_encoder
from transforms.encoders.specification import EncoderSpecification

LITERT, OPENVINO = (dataclasses.replace(resolve_encoder(), engine=engine) for engine in ("litert", "openvino"))
IMAGE = (1, 224, 224, 3)


class Machine:
    """On which a call takes what is said; tells which engines were loaded."""

    def __init__(self, milliseconds: dict[str, float]) -> None:
        self.milliseconds = milliseconds
        self.loaded: list[str] = []

    def load_encoder(self, specification: EncoderSpecification, **_: object) -> SimpleNamespace:
        self.loaded.append(specification.engine)

        def encode(pixels: np.ndarray) -> None:
            assert pixels.shape == IMAGE
            time.sleep(self.milliseconds[specification.engine] / 1000)

        return SimpleNamespace(encode=encode)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv(conversion.CACHE_VARIABLE, str(tmp_path))
    conversion.network_directory(LITERT).mkdir()
    machine = Machine({"litert": 4.0, "openvino": 2.0})
    monkeypatch.setattr(timing, "load_encoder", machine.load_encoder)
    return machine


def test_the_fastest_engine_is_found_once(machine: Machine) -> None:
    chosen, word = timing.fastest([LITERT, OPENVINO])
    assert chosen == OPENVINO
    assert 1.5 < float(word.partition(" times as fast here as litert")[0]) < 2.5
    assert machine.loaded == ["litert", "openvino"]
    assert timing.fastest([LITERT, OPENVINO]) == (chosen, word)
    assert machine.loaded == ["litert", "openvino"]


def test_the_preferred_engine_stays_unless_another_is_faster(machine: Machine) -> None:
    machine.milliseconds["openvino"] = 4.0
    assert timing.fastest([LITERT, OPENVINO]) == (LITERT, "no other engine here is 3% faster")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        json.dumps({"where": "another processor", "seconds": {"litert": 1, "openvino": 9}}),
        json.dumps({"where": timing._where(), "seconds": {"litert": 1, "openvino": 0}}),
    ],
)
def test_seconds_of_another_machine_do_not_count(machine: Machine, text: str) -> None:
    (conversion.network_directory(LITERT) / "seconds.json").write_text(text)
    assert timing.fastest([LITERT, OPENVINO])[0] == OPENVINO
    kept = json.loads((conversion.network_directory(LITERT) / "seconds.json").read_text())
    assert kept["seconds"]["openvino"] < kept["seconds"]["litert"] < 1
    assert "openvino " in kept["where"]


def test_a_large_network_is_not_called_often(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr(timing, "CALLS", 1_000_000)
    assert timing.fastest([LITERT, OPENVINO])[0] == OPENVINO


def test_what_cannot_be_kept_is_timed_again(machine: Machine) -> None:
    conversion.network_directory(LITERT).rmdir()
    for _ in range(2):
        assert timing.fastest([LITERT, OPENVINO])[0] == OPENVINO
    assert len(machine.loaded) == 4

from __future__ import annotations

import types

import pytest

from transforms.encoders import devices, engines
from transforms.encoders.devices import has_gpu, settle_device
from transforms.errors import EncoderError


@pytest.fixture
def tensorflow(monkeypatch):
    """A TensorFlow that has the GPUs in ``found`` and notes what is asked of it."""
    asked = types.SimpleNamespace(found=[], calls=[])
    config = types.SimpleNamespace(
        list_physical_devices=lambda kind: asked.found if kind == "GPU" else ["CPU:0"],
        set_visible_devices=lambda *arguments: asked.calls.append(arguments),
        experimental=types.SimpleNamespace(
            enable_tensor_float_32_execution=lambda on: asked.calls.append(("TensorFloat-32", on))
        ),
    )
    monkeypatch.setattr(devices, "import_tensorflow", lambda: types.SimpleNamespace(config=config))
    return asked


def test_a_gpu_that_is_not_there_is_refused_with_the_remedy(tensorflow):
    with pytest.raises(EncoderError, match=r"TensorFlow finds no GPU here; .*and-cuda.*--accelerator"):
        settle_device("gpu")
    settle_device("auto")


def test_a_gpu_computes_in_float32_and_can_be_left_alone(tensorflow):
    tensorflow.found.append("GPU:0")
    settle_device("gpu")
    assert tensorflow.calls == [("TensorFloat-32", False)]
    settle_device("cpu")
    assert tensorflow.calls[-1] == ([], "GPU")


def test_nobody_waits_for_tensorflow_without_a_driver(monkeypatch, tensorflow, tmp_path):
    tensorflow.found.append("GPU:0")
    monkeypatch.setattr(devices, "_DRIVERS", (f"{tmp_path}/card*",))
    assert not has_gpu()
    (tmp_path / "card0").touch()
    assert has_gpu()


def test_auto_takes_tensorflow_where_there_is_a_gpu(monkeypatch, default_specification):
    monkeypatch.setattr(engines, "has_gpu", lambda: True)
    monkeypatch.setattr(engines, "golden_difference", None)
    choice = engines.choose_engine(default_specification)
    assert (choice.specification.engine, choice.why) == ("tensorflow", "TensorFlow finds a GPU")
    assert engines.choose_engine(default_specification, device="gpu").specification.engine == "tensorflow"
    with pytest.raises(EncoderError, match="--encoder-device gpu: litert computes on processors"):
        engines.choose_engine(default_specification, "litert", device="gpu")
    with pytest.raises(EncoderError, match="tensorflow does not compute in int8"):
        engines.choose_engine(default_specification, precision="int8", device="gpu")

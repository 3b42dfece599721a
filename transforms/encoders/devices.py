"""Where TensorFlow computes: the processor, or a GPU where there is one."""

from __future__ import annotations

import contextlib
import glob

from transforms.encoders.tensorflow_runtime import import_tensorflow
from transforms.errors import EncoderError

DEVICES = ("auto", "cpu", "gpu")

_DRIVERS = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/dxg")
"""What a driver for NVIDIA's or AMD's cards makes; without one of them nobody waits for TensorFlow to look."""


def has_gpu() -> bool:
    """Tells whether TensorFlow finds a GPU; it is imported only where there is a driver."""
    return any(map(glob.glob, _DRIVERS)) and bool(import_tensorflow().config.list_physical_devices("GPU"))


def settle_device(device: str) -> None:
    """Settles where TensorFlow computes in this process, before it has computed anything.

    On a GPU it multiplies in float32, not in its shorter TensorFloat-32, whose vectors differ in the third digit.

    Args:
      device: one of DEVICES; ``auto`` is a GPU where there is one.

    Raises:
      EncoderError: there is no GPU and it must be one.
    """
    tensorflow = import_tensorflow()
    tensorflow.config.experimental.enable_tensor_float_32_execution(False)
    if device == "cpu":
        with contextlib.suppress(RuntimeError):  # it has computed already
            tensorflow.config.set_visible_devices([], "GPU")
    elif device == "gpu" and not tensorflow.config.list_physical_devices("GPU"):
        raise EncoderError(
            "--encoder-device gpu: TensorFlow finds no GPU here; install its driver and pip install "
            "'tensorflow[and-cuda]', ask for workers that have one with --accelerator, or leave the flag out"
        )

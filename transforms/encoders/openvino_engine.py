"""The ``openvino`` engine: the converted network on OpenVINO, in float32 or bfloat16, without TensorFlow."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from transforms.encoders.bias_correction import correct_biases, mean_inputs
from transforms.encoders.conversion import converted_network
from transforms.encoders.encoder import Pixels, Vectors
from transforms.encoders.golden import golden_images
from transforms.encoders.interpreters import Interpret, InterpretedEncoder
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import EncoderError

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""Our names of inference precisions to OpenVINO's."""


def is_installed() -> bool:
    """Tells whether the extra is there."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """Imports OpenVINO with the stub in place of its telemetry, which would send an event at once."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


def load_openvino(
    specification: EncoderSpecification, trust_model: bool = False, threads: int | None = None
) -> InterpretedEncoder:
    """Compiles the converted network of a specification; arguments and errors are those of load_litert.

    Raises:
      EncoderError: OpenVINO is not installed, or the network cannot be converted, compiled or run.
    """
    if not is_installed():
        raise EncoderError("the engine openvino is not installed; pip install 'heliograph[openvino]'")
    converted = converted_network(specification, trust_model)
    path = str(converted.path)
    core, network = _read(specification, path)

    def new_interpreter() -> Interpret:
        request = _compile(core, network, specification, path).create_infer_request()

        def interpret(pixels: Pixels) -> Vectors:
            return np.array(request.infer([pixels])[0], np.float32)

        return interpret

    return InterpretedEncoder(specification, new_interpreter, threads, converted.bytes_of_interpreter)


def _read(specification: EncoderSpecification, path: str) -> tuple[Any, Any]:
    """Returns OpenVINO's core, and the network with its biases corrected."""
    with _told(path):
        openvino = import_openvino()
        core = openvino.Core()
        network = core.read_model(path)
        if specification.bias_correction:
            means = mean_inputs(openvino, core, core.read_model(path), golden_images(specification))
            correct_biases(openvino, network, means)
        return core, network


def _compile(core: Any, network: Any, specification: EncoderSpecification, path: str) -> Any:
    """Compiles a network of one stream: those that share a network wait for each other while others decode.

    Pinning is off, since it puts the streams of every process on the same cores.
    """
    settings = {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": PRECISIONS[specification.precision],
    }
    with _told(path):
        return core.compile_model(network, "CPU", settings)


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        raise EncoderError(f"OpenVINO does not compile {path}: {lines[-1] if lines else error}") from error

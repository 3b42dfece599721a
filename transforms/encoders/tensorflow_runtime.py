"""TensorFlow and Keras, imported late and quietly."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from transforms.errors import EncoderError
from transforms.machine.cores import usable_cores

DOWNLOAD_TIMEOUT_SECONDS = 30.0

# What C++ prints while TensorFlow is imported, or LiteRT first used, before any log level counts.
_CHATTER = re.compile(
    rb"(WARNING: All log messages before absl::InitializeLog"
    rb"|[IWE]\d{4} .* (port|cudart_stub|cpu_feature_guard|cuda_platform|cuda_executor|cuda_dnn)\.cc:"
    rb"|To enable the following instructions:"
    rb"|INFO: Created TensorFlow Lite XNNPACK delegate).*\n?"
)
_IMPORTING = threading.Lock()
_QUIET = threading.Lock()


def import_tensorflow(threads: int | None = None) -> Any:
    """Imports TensorFlow without its chatter on standard error.

    Args:
      threads: intra-op threads; left as they are when TensorFlow has run its first operation already.
        Inter-op threads stay at two or more, since lanes that share one would wait for each other.

    Raises:
      EncoderError: fewer than one thread.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_DEPRECATION_WARNINGS", "0")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _IMPORTING:
        quiet = contextlib.nullcontext() if "tensorflow" in sys.modules else without_chatter()
        with quiet:
            tensorflow = importlib.import_module("tensorflow")
    tensorflow.get_logger().setLevel("ERROR")
    if threads is not None:
        if threads < 1:
            raise EncoderError(f"threads must be positive, got {threads}")
        with contextlib.suppress(RuntimeError):
            tensorflow.config.threading.set_inter_op_parallelism_threads(max(2, usable_cores()))
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    return tensorflow


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Holds back what is written to file descriptor 2 meanwhile, then passes on all but known chatter."""
    with _QUIET:
        yield from _hold_back()


def _hold_back() -> Iterator[None]:
    try:
        sys.stderr.flush()
        real = os.dup(2)
    except (OSError, AttributeError):  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            for line in held:
                os.write(2, _CHATTER.sub(b"", line))


def import_keras() -> Any:
    """Imports Keras 3 on TensorFlow.

    Raises:
      EncoderError: Keras runs on another backend in this process.
    """
    import_tensorflow()
    keras = importlib.import_module("keras")
    if keras.config.backend() != "tensorflow":
        raise EncoderError(f"Keras runs on {keras.config.backend()} here; set KERAS_BACKEND=tensorflow and start again")
    return keras


def import_hub() -> ModuleType:
    """Imports tensorflow_hub without the warning about pkg_resources."""
    import_tensorflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("tensorflow_hub")


def loading_errors() -> tuple[type[Exception], ...]:
    """The exceptions that loading or first calling a foreign model is known to end with."""
    tensorflow = import_tensorflow()
    return (
        tensorflow.errors.OpError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        NotImplementedError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    )


@contextlib.contextmanager
def download_timeout(seconds: float = DOWNLOAD_TIMEOUT_SECONDS) -> Iterator[None]:
    """Bounds each wait for the network in the block, for libraries that set no limit of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of an exception's message, for a message of one line."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:limit]

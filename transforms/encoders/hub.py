"""TF Hub and Kaggle handles: downloaded, or found in their caches, as a local directory."""

from __future__ import annotations

import contextlib
import pathlib
import sys

from transforms.encoders.handle import Handle, Kind
from transforms.encoders.tensorflow_runtime import download_timeout, first_line, import_hub
from transforms.errors import EncoderError

PIXEL_RANGE = (0.0, 1.0)
"""TF Hub's convention for images, https://www.tensorflow.org/hub/common_signatures/images."""


def download(handle: Handle) -> pathlib.Path:
    """Brings a model of TF Hub or Kaggle to this machine.

    Returns:
      The directory of a SavedModel, or a .keras file.

    Raises:
      EncoderError: it cannot be downloaded, or what came holds no such model.
    """
    directory = _resolve_hub(handle) if handle.kind is Kind.TF_HUB else _resolve_kaggle(handle)
    if (directory / "saved_model.pb").exists():
        return directory
    keras_files = sorted(directory.glob("*.keras"))
    if len(keras_files) == 1:
        return keras_files[0]
    raise EncoderError(f"{handle.source} holds neither a SavedModel nor one .keras file")


def _resolve_hub(handle: Handle) -> pathlib.Path:
    hub = import_hub()
    try:
        with download_timeout(), contextlib.redirect_stdout(sys.stderr):
            return pathlib.Path(hub.resolve(handle.target))
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise _failure(handle, error) from error


def _resolve_kaggle(handle: Handle) -> pathlib.Path:
    import kagglehub
    from kagglehub.exceptions import BackendError, CredentialError, DataCorruptionError, KaggleApiHTTPError

    failures = (OSError, ValueError, BackendError, CredentialError, DataCorruptionError, KaggleApiHTTPError)
    try:
        with download_timeout(), contextlib.redirect_stdout(sys.stderr):
            return pathlib.Path(kagglehub.model_download(handle.target))
    except failures as error:
        raise _failure(handle, error) from error


def _failure(handle: Handle, error: Exception) -> EncoderError:
    return EncoderError(
        f"{handle.source} could not be downloaded ({type(error).__name__}: {first_line(error, 120)});"
        " check the address and the network, or download it elsewhere and give the directory"
    )

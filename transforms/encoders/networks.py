"""From a handle of any kind to its network."""

from __future__ import annotations

import pathlib

from transforms.encoders import hub, remote
from transforms.encoders.efficientnet_lite0 import SIZE, open_default
from transforms.encoders.handle import Handle, Kind, parse_handle
from transforms.encoders.keras_applications import open_application
from transforms.encoders.keras_models import open_keras_file
from transforms.encoders.network import Network
from transforms.encoders.saved_model import open_saved_model
from transforms.encoders.specification import EncoderSpecification


def open_network(
    handle: Handle,
    *,
    image_size: tuple[int, int] | None = None,
    trust_model: bool = False,
    expected_sha256: str | None = None,
) -> Network:
    """Loads what a handle names.

    Args:
      handle: see parse_handle.
      image_size: height and width for networks that are built for a size.
      trust_model: loads models that carry code as well.
      expected_sha256: the digest that the weights must have, None when it is not known yet.

    Raises:
      EncoderError: see the openers of each kind.
    """
    if handle.kind is Kind.DEFAULT:
        return open_default(*(image_size or (SIZE, SIZE)), expected_sha256)
    if handle.kind is Kind.APPLICATIONS:
        return open_application(handle, image_size, expected_sha256)
    path, pixel_range = pathlib.Path(handle.target), None
    if handle.kind is Kind.REMOTE:
        path = remote.copy_here(handle, expected_sha256)
    if handle.kind in (Kind.TF_HUB, Kind.KAGGLE):
        path, pixel_range = hub.download(handle), hub.PIXEL_RANGE
    if path.suffix == ".keras" and path.is_file():
        return open_keras_file(handle.source, path, trust_model=trust_model, expected_sha256=expected_sha256)
    return open_saved_model(
        handle.source,
        path,
        trust_model=trust_model,
        expected_sha256=expected_sha256,
        pixel_range=pixel_range,
    )


def open_again(specification: EncoderSpecification, trust_model: bool = False) -> Network:
    """Loads the network that a specification was made of.

    Raises:
      EncoderError: as open_network; the weights have changed.
    """
    size = specification.preprocessing
    return open_network(
        parse_handle(specification.source),
        image_size=(size.height, size.width),
        trust_model=trust_model,
        expected_sha256=specification.weights_sha256,
    )

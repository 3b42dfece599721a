"""What ``--encoder`` names: a handle is read into its kind without loading anything."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import urllib.parse
from enum import StrEnum

from transforms.errors import EncoderError

DEFAULT = "efficientnet-lite0"
"""The default encoder's name."""

_APPLICATIONS = "keras.applications:"
_KAGGLE_HOSTS = ("www.kaggle.com", "kaggle.com")
_STORES = ("gs", "s3")
_FRAMEWORKS = ("tensorflow1", "tensorflow2", "keras")
_KINDS_TEXT = (
    f"{DEFAULT}, a SavedModel directory or a .keras file (here, gs:// or s3://), keras.applications:NAME, "
    "https://tfhub.dev/… or a Kaggle handle owner/model/tensorFlow2/variation"
)


class Kind(StrEnum):
    """Where an encoder comes from."""

    DEFAULT = "default"
    SAVED_MODEL = "saved_model"
    KERAS_FILE = "keras_file"
    APPLICATIONS = "keras_applications"
    TF_HUB = "tf_hub"
    KAGGLE = "kaggle"
    REMOTE = "remote"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handle:
    """A handle, understood.

    Attributes:
      kind: where the encoder comes from.
      source: the handle as it was written.
      target: a path, a URL, ``owner/model/framework/variation[/version]`` or a name, after the kind.
      weights: of keras.applications only: ``imagenet``, ``none`` or a path.
    """

    kind: Kind
    source: str
    target: str
    weights: str = "imagenet"

    @property
    def name(self) -> str:
        """The short name of ``[a-z0-9.-]`` that a table's directory begins with."""
        parts = self.target.rstrip("/").split("/")
        if self.kind is Kind.KAGGLE:
            words = [parts[1], parts[3]]
        elif self.kind is Kind.TF_HUB:
            words = [part for part in parts[4:] if not part.isdigit()] or parts[3:]
        else:
            words = [parts[-1].removesuffix(".keras")]
        if words == ["encoder"] and len(parts) > 2 and parts[-2].isdigit():  # of one of our models
            words = [parts[-3], parts[-2]]
        if self.kind in (Kind.SAVED_MODEL, Kind.REMOTE) and words[0].isdigit() and len(parts) > 1:
            words = [parts[-2], words[0]]
        slug = re.sub(r"[^a-z0-9.]+", "-", "-".join(words).lower()).strip(".-")
        return slug[:48].strip(".-") or "encoder"


def parse_handle(source: str) -> Handle:
    """Reads a handle.

    Raises:
      EncoderError: it is none of the known kinds, or a local path without a model.
    """
    if source == DEFAULT:
        return Handle(kind=Kind.DEFAULT, source=source, target=source)
    if not source or not source.isprintable():
        raise EncoderError(f"--encoder {source!r} is no handle; give {_KINDS_TEXT}")
    if source.startswith(_APPLICATIONS):
        return _applications_handle(source)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", source):
        return _url_handle(source)
    if source.startswith("kaggle:"):
        return _kaggle_handle(source, source.removeprefix("kaggle:"))
    path = pathlib.Path(source)
    if not path.exists() and len(parts := source.split("/")) in (4, 5) and parts[2].lower() in _FRAMEWORKS:
        return _kaggle_handle(source, source)
    return _path_handle(source, path)


def _applications_handle(source: str) -> Handle:
    name, _, query = source.removeprefix(_APPLICATIONS).partition("?")
    options = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    unknown = sorted(options.keys() - {"weights"})
    if unknown or (query and not options.get("weights")):
        raise EncoderError(f"{source}: after the question mark only weights=imagenet, none or a path is known")
    return Handle(kind=Kind.APPLICATIONS, source=source, target=name, weights=options.get("weights", "imagenet"))


def _url_handle(source: str) -> Handle:
    url = urllib.parse.urlsplit(source)
    parts = url.path.strip("/").split("/")
    if url.scheme == "https" and url.hostname == "tfhub.dev" and len(parts) >= 2:
        return Handle(kind=Kind.TF_HUB, source=source, target=source)
    if url.scheme == "https" and url.hostname in _KAGGLE_HOSTS and parts[0] == "models":
        words = [part for part in parts[1:] if part not in ("frameworks", "variations", "versions")]
        return _kaggle_handle(source, "/".join(words))
    if url.scheme in _STORES and len(parts) >= 1 and parts[0]:
        return Handle(kind=Kind.REMOTE, source=source, target=source.rstrip("/"))
    raise EncoderError(f"--encoder {source} is an address that is not fetched; give {_KINDS_TEXT}")


def _kaggle_handle(source: str, target: str) -> Handle:
    parts = target.strip("/").split("/")
    well_formed = len(parts) == 4 or (len(parts) == 5 and parts[4].isdigit())
    if not well_formed or not all(re.fullmatch(r"[\w.-]+", part) for part in parts):
        raise EncoderError(f"{source} is no Kaggle model; write owner/model/framework/variation[/version]")
    if parts[2].lower() not in _FRAMEWORKS:
        raise EncoderError(f"{source} is for {parts[2]}; choose a variation for tensorFlow2 or keras")
    return Handle(kind=Kind.KAGGLE, source=source, target="/".join(parts))


def _path_handle(source: str, path: pathlib.Path) -> Handle:
    if not path.exists():
        raise EncoderError(f"--encoder {source} does not exist; give {_KINDS_TEXT}")
    if path.is_dir():
        return Handle(kind=Kind.SAVED_MODEL, source=source, target=str(path))
    if path.suffix == ".keras":
        return Handle(kind=Kind.KERAS_FILE, source=source, target=str(path))
    if path.suffix in (".h5", ".hdf5"):
        raise EncoderError(f"{source} is in Keras' old HDF5 format; save it again as .keras")
    raise EncoderError(f"--encoder {source} is a file of an unknown kind; give {_KINDS_TEXT}")

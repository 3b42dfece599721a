"""The directory that a trained model is: ``MODEL/<n>/``, a SavedModel and what batch scoring needs beside it.

| file | content |
|---|---|
| ``saved_model.pb``, ``variables/``, ``assets/`` | image bytes to labels and probabilities |
| ``head.npz``, ``model.json`` | the head alone; encoder's specification, data, digests |
| ``encoder.keras`` or ``encoder/`` | the encoder, where it was trained with the head; a handle for ``--encoder`` |
| ``golden.npy`` | the encoder's vectors of the golden images |
| ``labels.txt`` | a label a line, in the order of the outputs |
| ``metrics.json``, ``config.json``, ``model_card.md`` | what it reaches, how it was trained, for people |

Beside the versions lies ``MODEL/aliases/``: transforms.model.aliases.
"""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from pyarrow import fs

from transforms.encoders.specification import EncoderSpecification
from transforms.errors import InputError, ModelError
from transforms.files import filesystem
from transforms.model.aliases import split_alias, version_of
from transforms.model.head import Head

FORMAT = 1
"""Of model.json; raised when an older reader would misunderstand it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelDirectory:
    """One version of a model, opened.

    Attributes:
      path: of the version, ``MODEL/<n>``.
      version: n.
      head: vectors to probabilities.
      encoder: the encoder that the head was fitted on.
      golden: ``float32[G, D]``, the encoder's vectors of the golden images, for its self-test.
      data: what it was fitted on: ``store``, ``table``, ``table_version``, ``run_ids``.
      training_digest: the same for trainings with equal data and configuration.
      created: when it was made, ISO 8601, UTC.
      metrics: ``validation`` and ``test`` objects; an absent split is null.
      config: the configuration of the training.
      alias: by which it was opened; empty when it was not.
    """

    path: str
    version: int
    head: Head
    encoder: EncoderSpecification
    golden: npt.NDArray[np.float32]
    data: dict[str, Any]
    training_digest: str
    created: str
    metrics: dict[str, Any]
    config: dict[str, Any]
    alias: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        return self.head.labels

    @property
    def identifier(self) -> str:
        """Names this model in a prediction: its version and the start of its head's digest."""
        return f"{self.version}-{self.head.digest[:8]}"

    @classmethod
    def open(cls, path: str) -> ModelDirectory:
        """Opens ``MODEL`` (its newest version), ``MODEL/<n>`` or ``MODEL@alias``.

        Raises:
          ModelError: when there is no model or alias, or files of it are missing, cut short or not of one training.
        """
        system, root = _open_filesystem(path)
        if system.get_file_info(root).type != fs.FileType.Directory:
            model, alias = split_alias(path)
            if alias:
                named = cls.open(filesystem.join(model, str(version_of(model, alias))))
                return dataclasses.replace(named, alias=alias)
            raise ModelError(f"{path} is no model directory: it does not exist; `heliograph train` makes one")
        directory, version = _newest(system, path, root)
        shown = path if directory == root else filesystem.join(path, str(version))
        fields = _read_json(system, directory, "model.json", shown)
        try:
            return cls._from_fields(system, directory, shown, version, fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{shown}: model.json lacks or garbles {error}; {_REMEDY}") from error

    @classmethod
    def _from_fields(
        cls, system: fs.FileSystem, directory: str, shown: str, version: int, fields: dict[str, Any]
    ) -> ModelDirectory:
        if fields["format"] != FORMAT:
            raise ModelError(f"{shown}: format {fields['format']!r} is unknown, this version reads {FORMAT}")
        _check_files(system, directory, shown, fields["files"])
        try:
            head = Head.from_bytes(_read(system, directory, "head.npz", shown), fields["head"])
        except ModelError as error:
            raise ModelError(f"{shown}: {error}; {_REMEDY}") from error
        encoder = EncoderSpecification.from_json(fields["encoder"])
        if fields.get("encoder_file"):  # its own, wherever the directory has been moved to
            place = filesystem.absolute(filesystem.join(shown, fields["encoder_file"]))
            encoder = dataclasses.replace(encoder, source=place)
        if encoder.fingerprint != fields["encoder_fingerprint"] or encoder.dimension != head.dimension:
            raise ModelError(f"{shown}: the encoder in model.json is not the head's; {_REMEDY}")
        return cls(
            path=shown,
            version=version,
            head=head,
            encoder=encoder,
            golden=_read_golden(system, directory, shown, encoder.dimension),
            data=dict(fields["data"]),
            training_digest=str(fields["training_digest"]),
            created=str(fields["created"]),
            metrics=_read_json(system, directory, "metrics.json", shown),
            config=_read_json(system, directory, "config.json", shown),
        )

    def provenance(self) -> dict[str, Any]:
        """What a prediction's run record says of the model it came from."""
        return {
            "path": self.path,
            "version": self.version,
            "identifier": self.identifier,
            "alias": self.alias,
            "head_sha256": self.head.digest,
            "encoder": self.encoder.name,
            "encoder_fingerprint": self.encoder.fingerprint,
            "data": self.data,
        }

    def check_encoder(self, specification: EncoderSpecification) -> None:
        """Refuses an encoder whose vectors the head was not fitted on.

        Raises:
          ModelError: naming both fingerprints and the remedy.
        """
        if specification.fingerprint != self.encoder.fingerprint:
            raise ModelError(
                f"{self.path} was fitted on encoder {self.encoder.name} ({self.encoder.fingerprint}), not on "
                f"{specification.name} ({specification.fingerprint}); use that encoder, or train on this one"
            )


_REMEDY = "name another version of the model, or train it again"


def versions(path: str) -> list[int]:
    """Returns the versions in ``MODEL``, ascending; none when the directory does not exist.

    Raises:
      ModelError: when the address cannot be read at all.
    """
    system, root = _open_filesystem(path)
    return _versions(system, root)


def _versions(system: fs.FileSystem, root: str) -> list[int]:
    children = system.get_file_info(fs.FileSelector(root, allow_not_found=True))
    names = [info.base_name for info in children if info.type == fs.FileType.Directory and is_version(info.base_name)]
    if not isinstance(system, fs.LocalFileSystem):  # without a rename, what is written last says that it is whole
        marks = system.get_file_info([f"{root}/{name}/model.json" for name in names])
        names = [name for name, mark in zip(names, marks, strict=True) if mark.type == fs.FileType.File]
    return sorted(map(int, names))


def is_version(name: str) -> bool:
    """Returns whether a directory's name is that of a version: 1, 2, 3 …"""
    return name.isascii() and name.isdigit() and name == str(int(name)) and name != "0"


def _newest(system: fs.FileSystem, path: str, root: str) -> tuple[str, int]:
    name = root.rsplit("/", 1)[-1]
    markers = [f"{root}/model.json", f"{root}/saved_model.pb"]
    if any(info.type == fs.FileType.File for info in system.get_file_info(markers)):
        return root, int(name) if is_version(name) else 0
    found = _versions(system, root)
    if not found:
        raise ModelError(f"{path} holds no version of a model (MODEL/1, MODEL/2 …); `heliograph train` makes one")
    return f"{root}/{found[-1]}", found[-1]


def _open_filesystem(path: str) -> tuple[fs.FileSystem, str]:
    try:
        system, root = filesystem.open_filesystem(path)
    except InputError as error:
        raise ModelError(f"--model {error}") from error
    return system, root.rstrip("/") or "/"


def _check_files(system: fs.FileSystem, directory: str, shown: str, sizes: dict[str, int]) -> None:
    """Every file that was published is there, whole: model.json lists their sizes in bytes."""
    infos = system.get_file_info([f"{directory}/{name}" for name in sizes])
    for (name, size), info in zip(sizes.items(), infos, strict=True):
        if info.type != fs.FileType.File:
            raise ModelError(f"{shown} is half there: {name} is missing; {_REMEDY}")
        if info.size != size:
            raise ModelError(f"{shown} is damaged: {name} has {info.size} bytes, not {size}; {_REMEDY}")


def _read(system: fs.FileSystem, directory: str, name: str, shown: str) -> bytes:
    try:
        return filesystem.read_bytes(system, f"{directory}/{name}")
    except OSError as error:
        raise ModelError(f"{shown} is half there: {name} cannot be read ({error}); {_REMEDY}") from error


def _read_golden(system: fs.FileSystem, directory: str, shown: str, dimension: int) -> npt.NDArray[np.float32]:
    try:
        golden = np.load(io.BytesIO(_read(system, directory, "golden.npy", shown)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ModelError(f"{shown}: golden.npy cannot be read ({error}); {_REMEDY}") from error
    if golden.dtype != np.float32 or golden.ndim != 2 or golden.shape[1] != dimension:
        raise ModelError(f"{shown}: golden.npy holds {golden.dtype}{list(golden.shape)}; {_REMEDY}")
    return np.ascontiguousarray(golden)


def _read_json(system: fs.FileSystem, directory: str, name: str, shown: str) -> dict[str, Any]:
    try:
        fields = json.loads(_read(system, directory, name, shown))
    except ValueError as error:
        raise ModelError(f"{shown}: {name} is no JSON ({error}); {_REMEDY}") from error
    if not isinstance(fields, dict):
        raise ModelError(f"{shown}: {name} holds no object; {_REMEDY}")
    return fields

"""Tensors out of a legacy torch checkpoint, with numpy alone and with nothing else let in."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.errors import EncoderError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


@dataclasses.dataclass(frozen=True)
class _StorageType:
    dtype: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    length: int


@dataclasses.dataclass(frozen=True)
class _View:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_view(storage: _Storage, offset: int, shape: tuple[int, ...], strides: Any, *_: Any) -> _View:
    return _View(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


_GLOBALS: dict[tuple[str, str], Callable[..., Any] | _StorageType] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_view,
    ("torch", "FloatStorage"): _StorageType("<f4"),
    ("torch", "LongStorage"): _StorageType("<i8"),
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Knows the four globals of a state dict; any other name ends the reading."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _GLOBALS:
            raise EncoderError(
                f"the checkpoint names {module_name}.{global_name}, which a file of weights has no use for"
            )
        return _GLOBALS[module_name, global_name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, length, _view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise EncoderError(f"the checkpoint holds a {kind!r}, expected a storage")
        return _Storage(str(key), storage_type.dtype, int(length))


def read_checkpoint(data: bytes, sha256: str) -> dict[str, npt.NDArray[Any]]:
    """Reads the state dict of a checkpoint in torch's legacy (non-zip) format.

    The layout is: magic number, protocol, system information, state dict and storage keys as five
    pickles, then for each key an int64 count and that many little-endian values.

    Args:
      data: the whole file.
      sha256: the expected digest, compared before anything is parsed.

    Returns:
      Arrays by name, in the file's order; float32 or int64.

    Raises:
      EncoderError: another digest, a global that is not one of the four, or a file cut short.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise EncoderError(f"the checkpoint has the digest {found}, expected {sha256}; install it again")
    stream = io.BytesIO(data)
    try:
        if _RestrictedUnpickler(stream).load() != _MAGIC or _RestrictedUnpickler(stream).load() != _PROTOCOL:
            raise EncoderError("the file is no checkpoint in torch's legacy format")
        _RestrictedUnpickler(stream).load()
        views = _RestrictedUnpickler(stream).load()
        keys = _RestrictedUnpickler(stream).load()
        storages = _read_storages(stream, keys, views)
        return {name: _materialise(view, storages) for name, view in views.items()}
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        KeyError,
    ) as error:
        raise EncoderError(f"the checkpoint cannot be read: {error}") from error


def _read_storages(stream: io.BytesIO, keys: list[str], views: dict[str, _View]) -> dict[str, npt.NDArray[Any]]:
    known = {view.storage.key: view.storage for view in views.values()}
    storages = {}
    for key in keys:
        storage = known[key]
        count = int.from_bytes(stream.read(8), "little")
        size = count * np.dtype(storage.dtype).itemsize
        values = stream.read(size)
        if count != storage.length or len(values) != size:
            raise EncoderError(f"storage {key} of the checkpoint holds {len(values)} bytes, expected {size}")
        storages[key] = np.frombuffer(values, storage.dtype)
    return storages


def _materialise(view: _View, storages: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    values = storages[view.storage.key][view.offset :]
    if len(view.shape) != len(view.strides) or any(number < 0 for number in view.shape + view.strides):
        raise ValueError(f"shape {view.shape} with strides {view.strides}")
    last = sum((size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True))
    if 0 not in view.shape and last >= len(values):
        raise ValueError(f"shape {view.shape} reaches beyond its storage")
    strides = tuple(stride * values.itemsize for stride in view.strides)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(values, view.shape, strides)).reshape(view.shape)

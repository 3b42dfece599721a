"""The state of a training in one file that appears whole, so that a training that was killed goes on."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = list[npt.NDArray[Any]]

_NAME = "checkpoint.npz"


def save_checkpoint(directory: str, fields: dict[str, Any], groups: dict[str, Sequence[Any]]) -> None:
    """Writes numbers and arrays; what was there before stays until they are complete."""
    path = os.path.join(directory, _NAME)
    arrays = {
        f"{name}/{place}": np.asarray(array) for name, group in groups.items() for place, array in enumerate(group)
    }
    with open(f"{path}.tmp", "wb") as stream:
        text = np.frombuffer(json.dumps(fields).encode(), np.uint8)
        np.savez(stream, allow_pickle=False, fields=text, **arrays)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(f"{path}.tmp", path)


def load_checkpoint(directory: str) -> tuple[dict[str, Any], dict[str, Arrays]] | None:
    """Returns what save_checkpoint wrote; None when there is nothing, or nothing that can be read."""
    try:
        with np.load(os.path.join(directory, _NAME), allow_pickle=False) as file:
            groups: dict[str, dict[int, npt.NDArray[Any]]] = {}
            for key in file.files:
                name, _, place = key.partition("/")
                if place:
                    groups.setdefault(name, {})[int(place)] = file[key]
            fields: dict[str, Any] = json.loads(file["fields"].tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return fields, {name: [group[place] for place in range(len(group))] for name, group in groups.items()}

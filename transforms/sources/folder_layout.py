"""Labels and splits of a container's members by their directories, as of a folder's files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from transforms.sources.folder import IMAGE_SUFFIXES, SPLIT_NAMES

MAC_DIRECTORY = "__MACOSX"


class FolderLayout(NamedTuple):
    """How the images of a container lie in directories.

    Attributes:
      wrapper: the one directory that holds all others, as many tools write it; it is no label.
      splits: whether the directories on top are named like splits.
    """

    wrapper: str
    splits: bool

    @classmethod
    def of(cls, names: Iterable[str]) -> FolderLayout:
        """Tells it from the names of all members; memory grows with the number of directories only."""
        tops: dict[str, None] = {}
        seconds: dict[str, None] = {}
        deep = True
        for name in filter(is_image_name, names):
            directories = _directories(name)
            tops[directories[0] if directories else ""] = None
            deep = deep and len(directories) > 1
            if len(tops) == 1:
                seconds[directories[1] if len(directories) > 1 else ""] = None
        wrapper = next(iter(tops)) if len(tops) == 1 and deep and not _all_splits(tops) else ""
        return cls(wrapper, _all_splits(seconds if wrapper else tops))

    def fields(self, name: str) -> dict[str, Any]:
        """Returns ``labels`` and ``split`` of a member's reference."""
        directories = _directories(name)
        if self.wrapper:
            directories.pop(0)
        split = SPLIT_NAMES[directories.pop(0).lower()] if self.splits and directories else ""
        return {"labels": tuple(directories[:1]), "split": split}


def is_image_name(name: str) -> bool:
    """Returns whether a member's name is that of a visible image."""
    parts = name.replace("\\", "/").split("/")
    hidden = any((part.startswith(".") and part not in (".", "..")) or part == MAC_DIRECTORY for part in parts)
    return not hidden and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _all_splits(names: Iterable[str]) -> bool:
    found = [name.lower() in SPLIT_NAMES for name in names if name]
    return bool(found) and all(found)


def _directories(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/")[:-1] if part not in ("", ".")]

"""How much memory this process may use: the machine's, or the limit of its container."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from transforms.machine.groups import groups


def usable_memory(root: Path = Path("/")) -> int:
    """Returns the machine's memory in bytes, or less where a cgroup limits it.

    Args:
      root: of the file system with ``proc`` and ``sys``.
    """
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    places = [
        (root / "sys/fs/cgroup", "", "memory.max"),
        (root / "sys/fs/cgroup/memory", "memory", "memory.limit_in_bytes"),
    ]
    for mount, controller, name in places:
        for directory in groups(root, mount, controller):
            with contextlib.suppress(OSError, ValueError):  # "max" is no limit
                yield int((directory / name).read_text())

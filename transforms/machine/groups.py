"""The cgroups that limit this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def groups(root: Path, mount: Path, controller: str) -> Iterator[Path]:
    """The process's cgroup of a controller and all above it; where a container sees its own as the root, that.

    Args:
      root: of the file system with ``proc``.
      mount: of the controller's groups.
      controller: of version 1; empty for version 2, where all are together.
    """
    path = "/"
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, found = line.split(":", 2)
            if controller in controllers.split(","):
                path = found
    group = mount / path.lstrip("/")
    yield group
    while group != mount and mount in group.parents:
        group = group.parent
        yield group

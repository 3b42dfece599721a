"""How many cores this process may use: its affinity, and the CPU limit of its container."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Returns the cores of the affinity mask, or fewer where a cgroup limits CPU time; a part of a core counts as one.

    Args:
      root: of the file system with ``proc`` and ``sys``.
    """
    quotas = [*_quotas_of_version_2(root), *_quotas_of_version_1(root)]
    return max(1, min([len(os.sched_getaffinity(0)), *(math.ceil(quota) for quota in quotas)]))


def _quotas_of_version_2(root: Path) -> Iterator[float]:
    for directory in _groups(root, root / "sys/fs/cgroup", ""):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (directory / "cpu.max").read_text().split()
            if quota != "max":
                yield int(quota) / int(period)


def _quotas_of_version_1(root: Path) -> Iterator[float]:
    for mount in ("cpu", "cpu,cpuacct", "cpuacct,cpu"):
        for directory in _groups(root, root / "sys/fs/cgroup" / mount, "cpu"):
            with contextlib.suppress(OSError, ValueError):
                quota = int((directory / "cpu.cfs_quota_us").read_text())
                if quota > 0:
                    yield quota / int((directory / "cpu.cfs_period_us").read_text())


def _groups(root: Path, mount: Path, controller: str) -> Iterator[Path]:
    """The process's cgroup of a controller and all above it; where a container sees its own as the root, that."""
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

"""How many cores this process may use: its affinity, and the CPU limit of its container."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

from transforms.machine.groups import groups


def usable_cores(root: Path = Path("/")) -> int:
    """Returns the cores of the affinity mask, or fewer where a cgroup limits CPU time; a part of a core counts as one.

    Args:
      root: of the file system with ``proc`` and ``sys``.
    """
    quotas = [*_quotas_of_version_2(root), *_quotas_of_version_1(root)]
    return max(1, min([len(os.sched_getaffinity(0)), *(math.ceil(quota) for quota in quotas)]))


def physical_cores(root: Path = Path("/")) -> int:
    """Returns how many of the affinity mask's cores are not a second thread of another one.

    Args:
      root: of the file system with ``sys``.
    """
    siblings = set()
    for core in os.sched_getaffinity(0):
        place = root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"
        try:
            siblings.add(place.read_text())
        except OSError:
            siblings.add(f"{core}\n")
    return len(siblings)


def _quotas_of_version_2(root: Path) -> Iterator[float]:
    for directory in groups(root, root / "sys/fs/cgroup", ""):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (directory / "cpu.max").read_text().split()
            if quota != "max":
                yield int(quota) / int(period)


def _quotas_of_version_1(root: Path) -> Iterator[float]:
    for mount in ("cpu", "cpu,cpuacct", "cpuacct,cpu"):
        for directory in groups(root, root / "sys/fs/cgroup" / mount, "cpu"):
            with contextlib.suppress(OSError, ValueError):
                quota = int((directory / "cpu.cfs_quota_us").read_text())
                if quota > 0:
                    yield quota / int((directory / "cpu.cfs_period_us").read_text())

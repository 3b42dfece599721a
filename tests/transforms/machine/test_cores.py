from __future__ import annotations

import os
from pathlib import Path

import pytest

from transforms.machine.cores import physical_cores, usable_cores


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


UNLIMITED = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64),
        (UNLIMITED, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "broken"}, 64),
        # the limit of a group above counts as well; the least of all holds
        (
            {
                "proc/self/cgroup": "0::/pods/one/box\n",
                "sys/fs/cgroup/pods/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/pods/one/cpu.max": "600000 100000\n",
                "sys/fs/cgroup/pods/one/box/cpu.max": "max 100000\n",
            },
            4,
        ),
        # version 1, with the controllers together, beside an empty version 2
        (
            {
                "proc/self/cgroup": "12:memory:/a\n4:cpu,cpuacct:/docker/abc\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        # in a container, where the path of the host is not mounted but the container's group is the root
        (
            {
                "proc/self/cgroup": "4:cpu:/docker/abc\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "25000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
    ],
)
def test_the_limit_of_the_container_counts(files: dict[str, str], cores: int, tmp_path: Path) -> None:
    assert usable_cores(write(tmp_path, files)) == cores


def test_the_affinity_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}
    assert usable_cores(write(tmp_path, files)) == 1


def test_threads_of_one_core_count_once(tmp_path: Path) -> None:
    siblings = {
        f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list": f"{core % 32},{core % 32 + 32}\n"
        for core in range(64)
    }
    assert physical_cores(write(tmp_path, siblings)) == 32
    assert physical_cores(tmp_path / "nothing") == 64

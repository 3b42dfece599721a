from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.transforms.machine.test_cores import write
from transforms.machine.memory import usable_memory


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 24 << 30),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 24 << 30),
        (
            {
                "proc/self/cgroup": "0::/pods/one\n",
                "sys/fs/cgroup/pods/memory.max": f"{2 << 30}\n",
                "sys/fs/cgroup/pods/one/memory.max": f"{4 << 30}\n",
            },
            2 << 30,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/docker/abc\n0::/\n",
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{3 << 30}\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            3 << 30,
        ),
    ],
)
def test_usable_memory(files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": (24 << 30) // 4096}.__getitem__)
    assert usable_memory(write(tmp_path, files)) == expected

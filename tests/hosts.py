"""Two hosts on this machine: network namespaces with an address, a host name and a pool of workers each.

They share the machine's files, as hosts of a cluster share a network file system; all else between them goes over
the bridge that connects them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PORT = 50000


def why_not() -> str:
    """Returns why no hosts can be made here; empty when they can."""
    missing = [tool for tool in ("ip", "unshare", "setpriv") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not installed: apt-get install iproute2 util-linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"try-{uuid.uuid4().hex[:8]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces cannot be made: {made.stderr.strip()}"
    _ip(f"netns del {name}")
    return ""


@contextlib.contextmanager
def two_hosts(directory: Path) -> Iterator[tuple[str, list[str]]]:
    """Makes two hosts with pools; yields this machine's address on the bridge and the pools' addresses.

    A pool's log is ``directory/<host>.jsonl``.
    """
    mark = uuid.uuid4().hex[:6]
    network = f"10.213.{int(mark[:2], 16)}"
    bridge, names = f"hb{mark}", [f"host-{mark}-{letter}" for letter in "ab"]
    with contextlib.ExitStack() as stack:
        _ip(f"link add {bridge} type bridge")
        stack.callback(_ip, f"link del {bridge}")
        _ip(f"addr add {network}.1/24 dev {bridge}")
        _ip(f"link set {bridge} up")
        for number, name in enumerate(names):
            _ip(f"netns add {name}")
            stack.callback(_ip, f"netns del {name}")
            _ip(f"link add hv{mark}{number} type veth peer name eth0 netns {name}")
            _ip(f"link set hv{mark}{number} master {bridge} up")
            _ip(f"-n {name} addr add {network}.{number + 2}/24 dev eth0")
            for device in ("eth0", "lo"):
                _ip(f"-n {name} link set {device} up")
        pools = [stack.enter_context(_pool(name, directory / f"{name}.jsonl")) for name in names]
        for pool in pools:
            assert pool.stdout is not None
            assert pool.stdout.readline() == "ready\n"
        yield f"{network}.1", [f"{network}.{number + 2}:{PORT}" for number in range(len(names))]


@contextlib.contextmanager
def _pool(name: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    script = f'hostname {name} && exec setpriv --pdeathsig KILL "$0" -m tests.host_pool {PORT} {log}'
    command = ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", script, sys.executable]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as pool:
        try:
            yield pool
        finally:
            pool.kill()


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)

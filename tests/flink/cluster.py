"""A Flink cluster on loopback: a JobManager, two TaskManagers with a pool of workers each, Beam's job server.

The machine plays two hosts: what a TaskManager knows as ``localhost`` is an address of its own, and its pool's.

``python -m tests.flink.cluster HOME`` runs one until Ctrl-C and prints the flags to use it with; HOME is what
install.sh made.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
TASK_MANAGERS = 2
START_SECONDS = 120
OPEN = [
    f"--add-opens=java.base/java.{package}=ALL-UNNAMED"
    for package in ("lang", "lang.reflect", "net", "nio", "time", "util", "util.concurrent")
]
"""What Flink and Kryo look into, which Java 17 keeps closed."""
QUICK = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
"""Short jobs on few cores."""
TASK_MEMORY = {
    "framework.heap.size": "64m",
    "framework.off-heap.size": "64m",
    "task.heap.size": "192m",
    "task.off-heap.size": "64m",
    "managed.size": "64m",
    "network.min": "128m",
    "network.max": "128m",
    "jvm-metaspace.size": "192m",
    "jvm-overhead.min": "128m",
    "jvm-overhead.max": "128m",
}
LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss,SSS} %-5p %c{1} - %m%n
"""


class Cluster:
    """The processes of a cluster, each with a log in ``directory``; all of them end with this process.

    Args:
      home: where install.sh put the jars.
      directory: for configuration, logs and what Flink keeps on disk.
    """

    def __init__(self, home: Path, directory: Path) -> None:
        self._home, self.directory = home, directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = dict(zip(("rest", "rpc", "job", "artifacts", "pool"), free_ports(5), strict=True))

    @property
    def flags(self) -> list[str]:
        """Beam's flags for a job on all TaskManagers, with workers of their pools."""
        pool = f"--environment_config=localhost:{self.ports['pool']}"
        return [*self._job_server_flags, f"--parallelism={TASK_MANAGERS}", "--environment_type=EXTERNAL", pool]

    @property
    def _job_server_flags(self) -> list[str]:
        endpoints = [f"--{name}_endpoint=localhost:{self.ports[key]}" for name, key in _ENDPOINTS.items()]
        return ["--runner=PortableRunner", *endpoints]

    @property
    def loopback_flags(self) -> list[str]:
        """Beam's flags for a job whose workers are threads of the process that submits it."""
        return [*self._job_server_flags, "--parallelism=2", "--environment_type=LOOPBACK"]

    def start(self, master: str | None = None) -> None:
        """Starts all of it and waits until it is ready.

        Args:
          master: ``[local]`` for Flink inside the job server, with neither JobManager nor TaskManagers nor pools.
        """
        if master is None:
            self._configure()
            job_manager = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
            self._start_java("job-manager", "-Xmx256m", ["flink"], [job_manager, "--configDir", str(self.directory)])
            for number in range(TASK_MANAGERS):
                self.start_task_manager(number)
                self.start_pool(number)
        self._start_java("job-server", "-Xmx512m", ["job-server", "flink/log4j"], self._job_server(master))
        wait_for(lambda: _listens(self.ports["job"]), "the job server", self._processes["job-server"])
        if master is None:
            wait_for(lambda: len(self.task_managers()) == TASK_MANAGERS, "the TaskManagers")

    def start_task_manager(self, number: int) -> None:
        """Starts a TaskManager; it registers some seconds later."""
        name = f"task-manager-{number}"
        hosts = self.directory / f"{name}.hosts"
        hosts.write_text(f"{_address(number)} localhost {socket.gethostname()}\n")
        memory = [f"-Dtaskmanager.memory.{key}={value}" for key, value in TASK_MEMORY.items()]
        own = [f"-Dtaskmanager.resource-id={name}", "-Dtaskmanager.numberOfTaskSlots=1", "-Dtaskmanager.cpu.cores=1"]
        runner = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        words = [f"-Djdk.net.hosts.file={hosts}", runner, "--configDir", str(self.directory), *memory, *own]
        self._start_java(name, "-Xmx256m", ["flink"], words)

    def start_pool(self, number: int) -> None:
        """Starts a TaskManager's pool, which starts a worker with the ``python`` of the search path for each job."""
        address, port = _address(number), self.ports["pool"]
        self._start(f"pool-{number}", [sys.executable, "-m", "tests.flink.pool", f"{address}:{port}"])
        wait_for(lambda: _listens(port, address), "a worker pool", self._processes[f"pool-{number}"])

    def kill(self, name: str) -> None:
        """Ends a process at once, with those that it has started: ``task-manager-0``, ``pool-1`` …"""
        process = self._processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Ends everything."""
        for name in list(self._processes):
            self.kill(name)

    def ask(self, path: str) -> dict[str, Any]:
        """Asks the JobManager, such as for ``jobs/overview``."""
        with urllib.request.urlopen(f"http://{HOST}:{self.ports['rest']}/{path}", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def task_managers(self) -> list[str]:
        """Returns the ids of the TaskManagers that are registered."""
        with contextlib.suppress(OSError):
            return [one["id"] for one in self.ask("taskmanagers")["taskmanagers"]]
        return []

    def logs(self, lines: int = 40) -> str:
        """Returns the end of every log."""
        ends = []
        for path in sorted(self.directory.glob("*.log")):
            ends.append(f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:]))
        return "\n".join(ends)

    def _configure(self) -> None:
        settings = {
            "jobmanager.rpc.address": HOST,
            "jobmanager.rpc.port": self.ports["rpc"],
            "jobmanager.bind-host": HOST,
            "taskmanager.bind-host": HOST,
            "taskmanager.host": HOST,
            "rest.address": HOST,
            "rest.bind-address": HOST,
            "rest.port": self.ports["rest"],
            "io.tmp.dirs": self.directory / "tmp",
            "web.tmpdir": self.directory / "tmp",
            "taskmanager.network.sort-shuffle.min-buffers": 64,
            "heartbeat.timeout": 15000,
            "heartbeat.interval": 3000,
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 3,
            "restart-strategy.fixed-delay.delay": "2 s",
        }
        (self.directory / "tmp").mkdir(exist_ok=True)
        text = "".join(f"{name}: {value}\n" for name, value in settings.items())
        (self.directory / "flink-conf.yaml").write_text(text)

    def _job_server(self, master: str | None) -> list[str]:
        ports = [f"--job-port={self.ports['job']}", f"--artifact-port={self.ports['artifacts']}", "--expansion-port=0"]
        own = f"{HOST}:{self.ports['rest']}"
        return [
            "org.apache.beam.runners.flink.FlinkJobServerDriver",
            f"--flink-master={master or own}",
            f"--job-host={HOST}",
            *ports,
            f"--artifacts-dir={self.directory / 'artifacts'}",
        ]

    def _start_java(self, name: str, heap: str, jars: list[str], words: list[str]) -> None:
        installed = (line.split()[1] for line in (self._home / ".installed").read_text().splitlines())
        path = os.pathsep.join(str(self._home / jar) for jar in installed if jar.startswith(tuple(jars)))
        (self.directory / "log4j2.properties").write_text(LOGGING)
        settings = [
            f"-Dlog4j2.configurationFile={self.directory}/log4j2.properties",
            f"-Djava.io.tmpdir={self.directory}",
        ]
        self._start(name, ["java", heap, *QUICK, *OPEN, *settings, "-cp", path, *words])

    def _start(self, name: str, command: list[str]) -> None:
        with open(self.directory / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_end_with_parent
            )


_ENDPOINTS = {"job": "job", "artifact": "artifacts"}


@contextlib.contextmanager
def running(home: Path, master: str | None = None) -> Iterator[Cluster]:
    """Runs a cluster, in a temporary directory of its own."""
    directory = Path(tempfile.mkdtemp(prefix="flink-"))
    cluster = Cluster(home, directory)
    try:
        cluster.start(master)
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Returns ports of loopback on which nobody listens now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def wait_for(
    ready: Callable[[], object],
    what: str,
    process: subprocess.Popen[bytes] | None = None,
    seconds: float = START_SECONDS,
) -> None:
    """Waits until ``ready`` says so.

    Raises:
      RuntimeError: it takes too long, or the process that should become ready has ended.
    """
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end or (process is not None and process.poll() is not None):
            raise RuntimeError(f"{what} not ready after {seconds:.0f} s, or ended")
        time.sleep(0.2)


def _listens(port: int, host: str = HOST) -> bool:
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex((host, port)) == 0


def _address(number: int) -> str:
    """Returns the address of loopback that a TaskManager takes for its host's."""
    return f"127.0.0.{2 + number}"


def _end_with_parent() -> None:
    """Lets Linux kill the process that is being started when its parent is gone, however that ended."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main() -> None:
    """Runs a cluster until Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), running(Path(sys.argv[1]).absolute(), *sys.argv[2:]) as cluster:
        print(*(cluster.loopback_flags if sys.argv[2:] else cluster.flags), sep=" \\\n  ", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()

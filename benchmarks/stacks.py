"""Where the time of ``heliograph embed`` goes: the stacks of all threads, a hundred times a second.

    python -m benchmarks.stacks --images DIR [--engine litert] [--precision float32]

Runs the command in this process. A sample belongs to the innermost place of PLACES on its stack, also while it is
inside a native library; a thread that waits for another does not count. Prints one line of JSON: seconds of each
place, added up over threads, the seconds on the clock and those of the processor.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from types import FrameType

INTERVAL = 0.01

PLACES = (
    ("the network", "encoders/litert.py", "interpret"),
    ("the network", "encoders/interpreters.py", "_one"),
    ("the network", "encoders/frozen.py", "encode"),
    ("the network", "openvino_engine.py", "interpret"),
    ("reading the file", "sources/read.py", ""),
    ("resizing", "PIL/Image.py", "resize"),
    ("decoding", "images/", ""),
    ("decoding", "PIL/", ""),
    ("hashing, queues and batches", "shards/lanes.py", ""),
    ("writing Parquet", "store/write.py", ""),
    ("writing Parquet", "embedder.py", "write"),
    ("choosing and checking the engine", "encoders/", ""),
    ("listing", "transforms/sources/", ""),
    ("planning", "plan_shards.py", ""),
    ("planning", "shards/plan.py", ""),
    ("planning", "files/runs.py", ""),
    ("the commit", "commit_parts.py", ""),
    ("the commit", "store/", ""),
    ("imports", "importlib._bootstrap", ""),
    ("Beam", "apache_beam/", ""),
    ("the rest", "", ""),
)
"""Name, part of the file's path and name of the function; a stack is searched from the inside for each in turn."""

WAITING = {"wait", "_wait_for_tstate_lock", "get", "_worker", "poll", "accept", "sleep", "join", "result"}
"""Functions on top of the stack of a thread that does nothing; ``run`` of threading is one that runs native code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command under the sampler."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--engine", default="litert")
    parser.add_argument("--precision", default="float32")
    flags = parser.parse_args(argv)
    started, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as store, Sampler() as sampler, contextlib.redirect_stdout(io.StringIO()):
        from pipelines import cli

        words = ["--engine", flags.engine, "--precision", flags.precision, "--no-report"]
        status = cli.main(["embed", "--input", flags.images, "--store", f"{store}/store", *words])
    seconds = {name: round(count * sampler.second, 3) for name, count in sampler.counts.most_common()}
    print(
        json.dumps(
            {
                "places": seconds,
                "seconds": round(time.perf_counter() - started, 2),
                "processor_seconds": round(time.process_time() - used, 2),
            }
        )
    )
    return status


class Sampler:
    """Counts where the threads of this process are."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._samples = 0

    def __enter__(self) -> Sampler:
        self._started = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.second = (time.perf_counter() - self._started) / max(self._samples, 1)

    def _sample(self) -> None:
        own = threading.get_ident()
        while not self._ended.wait(INTERVAL):
            self._samples += 1
            for thread, frame in sys._current_frames().items():
                if thread != own and not is_waiting(frame):
                    self.counts[place(frame)] += 1


def is_waiting(frame: FrameType) -> bool:
    """Tells whether a thread does nothing."""
    code = frame.f_code
    return code.co_name in WAITING or (code.co_name == "run" and code.co_filename.endswith("threading.py"))


def place(frame: FrameType) -> str:
    """Returns the place of a stack."""
    stack, inner = [], frame
    while inner is not None:
        stack.append((inner.f_code.co_filename, inner.f_code.co_name))
        inner = inner.f_back  # type: ignore[assignment]
    for file, function in stack:
        for name, path, wanted in PLACES[:-1]:
            if path in file and wanted in ("", function):
                return name
    return PLACES[-1][0]


if __name__ == "__main__":
    raise SystemExit(main())

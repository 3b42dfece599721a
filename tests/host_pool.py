"""A pool of workers that writes down which shards its host did: ``python -m tests.host_pool PORT LOG``."""

from __future__ import annotations

import json
import signal
import socket
import sys
from typing import Any

from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

from transforms.shards.work import ShardWork


def main(port: int, log: str) -> None:
    """Serves until it is killed; a line for each shard that was worked on here goes into the log."""
    do = ShardWork.do

    def do_and_tell(work: ShardWork, name: str, *rest: Any, **named: Any) -> Any:
        result = do(work, name, *rest, **named)
        with open(log, "a") as file:
            print(json.dumps({"host": socket.gethostname(), "run": work.run_id, "shard": name}), file=file)
        return result

    ShardWork.do = do_and_tell  # type: ignore[method-assign]
    _, server = BeamFnExternalWorkerPoolServicer.start(port=port)
    print("ready", flush=True)
    signal.pause()
    server.stop(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

"""Beam's worker pool, bound to one address: ``python -m tests.flink.pool ADDRESS:PORT``.

``apache_beam.runners.worker.worker_pool_main`` binds to all addresses. A TaskManager calls the pool of its own host,
and two on one machine must not share one: they call their workers by the same names, and one would stop the other's.
"""

from __future__ import annotations

import signal
import sys

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils import thread_pool_executor


def main(address: str) -> None:
    """Serves until it is killed."""
    options = [("grpc.so_reuseport", 0), ("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0)]
    server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=options)
    pool = BeamFnExternalWorkerPoolServicer(use_process=True, data_buffer_time_limit_ms=-1)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.add_insecure_port(address)
    server.start()
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])

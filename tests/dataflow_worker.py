"""A worker of Dataflow's, by itself: ``python dataflow_worker.py gs://…/pipeline.pb DIRECTORY``.

Installs the packages that were staged with the graph into the directory, executes the graph, prints its counters.
"""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.cloud import storage


def main(graph: str, directory: Path) -> None:
    """Does what the module says."""
    pipeline = beam_runner_api_pb2.Pipeline.FromString(read(graph))
    staged = set()
    for environment in pipeline.components.environments.values():
        for dependency in environment.dependencies:
            staged.add(beam_runner_api_pb2.ArtifactUrlPayload.FromString(dependency.type_payload).url)
        del environment.dependencies[:]
        environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
    for url in sorted(staged):
        if url.endswith(".tar.gz"):
            install(url, directory)
    result = FnApiRunner().run_via_runner_api(pipeline, PipelineOptions())
    result.wait_until_finish()
    counters: collections.Counter[str] = collections.Counter()
    for counter in result.metrics().query()["counters"]:
        counters[counter.key.metric.name] += counter.result
    print(json.dumps(counters))


def read(address: str) -> bytes:
    """Returns an object's bytes."""
    bucket, _, name = address.removeprefix("gs://").partition("/")
    data: bytes = storage.Client.create_anonymous_client().bucket(bucket).blob(name).download_as_bytes()
    return data


def install(url: str, directory: Path) -> None:
    """Makes a staged package the first that is found."""
    archive = directory / url.rsplit("/", 1)[-1]
    archive.write_bytes(read(url))
    packages = directory / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(packages), str(archive)], check=True)
    sys.path.insert(0, str(packages))
    import transforms

    assert Path(transforms.__file__).is_relative_to(packages), transforms.__file__


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

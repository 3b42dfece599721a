"""Machines of the workers: what a name of one says, and what the graph asks a runner for."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions

from pipelines import embed, options
from pipelines.graphs import EmbedGraph
from pipelines.workers import Workers, cores_of, settle_workers
from tests.photographs import write_folder
from transforms.encoders.resolve import resolve_encoder
from transforms.errors import OptionError
from transforms.shards.workspace import Workspace

DATAFLOW = ["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/t"]
TESLA = "type:nvidia-tesla-t4;count:1;install-nvidia-driver"


@pytest.mark.parametrize(
    ("name", "cores"),
    [
        ("n1-standard-4", 4),
        ("e2-highcpu-32", 32),
        ("n2-custom-6-8192", 6),
        ("c3-standard-8-lssd", 8),
        ("m5.large", 2),
        ("c6g.xlarge", 4),
        ("m5.12xlarge", 48),
        ("a2-highgpu-1g", None),
        ("e2-micro", None),
        ("big", None),
    ],
)
def test_cores_of_a_machine_type(name: str, cores: int | None) -> None:
    assert cores_of(name) == cores


@pytest.mark.parametrize(
    ("flags", "processes"),
    [
        ([], 1),
        (["--runner=FlinkRunner"], 1),
        (["--runner=FlinkRunner", "--sdk_worker_parallelism=4"], 4),
        (["--runner=PortableRunner", "--sdk_worker_parallelism=0"], 0),
        (DATAFLOW, 0),
        ([*DATAFLOW, "--experiments=no_use_multiple_sdk_containers"], 1),
    ],
)
def test_processes_that_share_a_machine(flags: list[str], processes: int) -> None:
    assert settle_workers(PipelineOptions(flags), None) == Workers(processes=processes)


def test_a_gpu_of_workers_elsewhere() -> None:
    """On Dataflow it is asked for, in either way; of workers of one's own nothing is known."""
    for flags in ([], ["--runner=FlinkRunner"], [*DATAFLOW, f"--resource_hint=accelerator={TESLA}"]):
        assert not settle_workers(PipelineOptions(flags), None, device="gpu").hints
    asked = settle_workers(PipelineOptions(DATAFLOW), None, device="gpu", accelerator=TESLA)
    assert asked == Workers(processes=1, hints={"accelerator": TESLA})


def test_dataflow_is_asked_for_one_thread_a_process_unless_one_is_named() -> None:
    for given, threads in (([], 1), (["--number_of_worker_harness_threads=3"], 3)):
        beam_options = PipelineOptions([*DATAFLOW, *given])
        settle_workers(beam_options, None)
        assert beam_options.view_as(DebugOptions).number_of_worker_harness_threads == threads


def graph_of(photos: Path, *flags: str) -> tuple[EmbedGraph, list[str]]:
    arguments = ["--input", str(photos), "--store", "/nowhere", *flags]
    known, beam_args = options.parse(embed._parser(), arguments)
    configuration = embed._configuration(known)
    sources = configuration.recognise()
    return configuration.graph(sources, dataclasses.replace(resolve_encoder(), engine="litert"), time.time()), beam_args


def build(graph: EmbedGraph, beam_args: list[str]) -> beam.Pipeline:
    pipeline = beam.Pipeline(options=PipelineOptions(beam_args), runner="DirectRunner")
    graph._build(pipeline, Workspace(root="/nowhere"), "/nowhere/plan")
    return pipeline


def hints_by_step(photos: Path, *flags: str) -> dict[str, dict[str, str]]:
    """Builds the graph of embed; returns the hints of each step, by the last words of their names."""
    components = build(*graph_of(photos, *flags)).to_runner_api().components
    return {
        step.unique_name: {
            urn.split(":")[2]: value.decode()
            for urn, value in components.environments[step.environment_id].resource_hints.items()
        }
        for step in components.transforms.values()
        if step.environment_id
    }


def test_only_the_step_of_the_network_has_hints(tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", per_label=1)
    steps = hints_by_step(photos, *DATAFLOW, "--machine_type=n1-standard-4", "--accelerator", TESLA)
    (heavy,) = [hints for name, hints in steps.items() if name.endswith("/EmbedShard")]
    assert heavy["accelerator"] == TESLA
    one_process = int(heavy["min_ram_bytes"])
    assert 1.2e9 < one_process < 4e9  # a process of some hundred MB, and four images of at most 268 MB
    assert not any(hints for name, hints in steps.items() if "EmbedShard" not in name)
    steps = hints_by_step(photos, *DATAFLOW, "--machine_type=n1-standard-4")
    (heavy,) = [hints for name, hints in steps.items() if name.endswith("/EmbedShard")]
    assert int(heavy["min_ram_bytes"]) > one_process + 3 * 150e6  # four of them
    assert "accelerator" not in heavy


def test_a_hint_of_the_user_s_own_is_left_alone(tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", per_label=1)
    steps = hints_by_step(photos, *DATAFLOW, "--resource_hint=min_ram=1MB")
    assert {hints["min_ram_bytes"] for hints in steps.values()} == {"1000000"}
    assert not any(hints_by_step(photos).values()), "the local run has none"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--accelerator", "t4", *DATAFLOW], "--accelerator must be such as 'type:nvidia-tesla-t4;.*', got 't4'"),
        (["--encoder-device=gpu", *DATAFLOW], "--encoder-device gpu: Dataflow's workers have none; add --accelerator"),
        (["--accelerator", TESLA], f"--accelerator {TESLA} is for workers elsewhere; leave it out or name a --runner"),
        (["--accelerator", TESLA, "--runner=DirectRunner"], f"--accelerator {TESLA} is for workers elsewhere"),
    ],
)
def test_an_accelerator_that_nobody_can_give(tmp_path: Path, flags: list[str], message: str) -> None:
    graph, beam_args = graph_of(write_folder(tmp_path / "photos", per_label=1), *flags)
    with pytest.raises(OptionError, match=message):
        build(graph, beam_args)

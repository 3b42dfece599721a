"""The machines that work on shards: their cores and processes, and what a runner is asked for."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping

from apache_beam.options.pipeline_options import (
    DebugOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
    WorkerOptions,
)

from pipelines import runner
from transforms.encoders.devices import DEVICES
from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import OptionError, did_you_mean
from transforms.images.limits import DEFAULT_LIMITS
from transforms.shards.record import peak_memory_mb

ONE_PROCESS = "no_use_multiple_sdk_containers"
"""Experiment of Dataflow's: one process a machine instead of one a core."""

_EXAMPLE = "type:nvidia-tesla-t4;count:1;install-nvidia-driver"
_ACCELERATOR = re.compile(r"type:[\w-]+(;[\w-]+(:[\w-]+)?)*")
_FAMILIES = ("standard", "highmem", "highcpu", "ultramem", "megamem", "custom")
_GOOGLE = re.compile(rf"(?:[a-z]\w*-)?(?:{'|'.join(_FAMILIES)})-(\d+)(?:-.*)?")
_AMAZON = re.compile(r"[a-z][\w-]*\.(\d*)(x?)large")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workers:
    """What the graph must know of the machines.

    Attributes:
      processes: that work on a machine; 0 for one a core.
      hints: Beam's resource hints of the step that runs the network.
    """

    processes: int = 1
    hints: Mapping[str, str] = dataclasses.field(default_factory=dict)


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--accelerator``."""
    parser.add_argument(
        "--accelerator",
        metavar="HINT",
        help="that the workers of the network's step need, as Beam's hint has it: " + _EXAMPLE,
    )


def settle_workers(
    options: PipelineOptions,
    specification: EncoderSpecification | None,
    *,
    beside: str = "",
    trust_model: bool = False,
    accelerator: str | None = None,
    device: str = DEVICES[0],
) -> Workers:
    """Settles what is left open: on Dataflow one thread a process, and the memory that the network was seen to take.

    Args:
      options: Beam's, completed in place.
      specification: of the encoder; None where no network runs.
      beside: table or model whose encoder it is.
      trust_model: loads models that carry code as well.
      accelerator: as Beam's hint has it.
      device: one of transforms.encoders.devices.DEVICES.

    Raises:
      OptionError: an accelerator that is no hint, or for the local run; a GPU on Dataflow without one.
    """
    _check_accelerator(accelerator, options)
    hints = {"accelerator": accelerator} if accelerator else {}
    if runner.name_of(options) != "dataflow":
        return Workers(processes=int(options.view_as(PortableOptions).sdk_worker_parallelism), hints=hints)
    given = [hint.partition("=")[0] for hint in options.view_as(StandardOptions).resource_hints]
    if device == "gpu" and not accelerator and "accelerator" not in given:
        raise OptionError(f"--encoder-device gpu: Dataflow's workers have none; add --accelerator '{_EXAMPLE}'")
    debug, machine = options.view_as(DebugOptions), options.view_as(WorkerOptions).machine_type
    if debug.number_of_worker_harness_threads is None:
        debug.number_of_worker_harness_threads = 1  # one shard at a time takes all cores of a process
    if accelerator and "use_multiple_sdk_containers" not in (debug.experiments or ()):
        debug.add_experiment(ONE_PROCESS)  # each process would load the network into the one GPU
    processes = 1 if ONE_PROCESS in (debug.experiments or ()) else 0
    if specification is not None and not {"min_ram", "minRam"}.intersection(given):
        cores = (machine and cores_of(machine)) or 1
        load_encoder(specification, trust_model=trust_model, beside=beside).encode(golden_images(specification))
        hints["min_ram"] = f"{memory_mb(cores, processes or cores)}MB"
    return Workers(processes=processes, hints=hints)


def _check_accelerator(accelerator: str | None, options: PipelineOptions) -> None:
    if accelerator is None:
        return
    if not _ACCELERATOR.fullmatch(accelerator):
        raise OptionError(f"--accelerator must be such as '{_EXAMPLE}', got {accelerator!r}")
    if runner.is_local(options):
        raise OptionError(f"--accelerator {accelerator} is for workers elsewhere; leave it out or name a --runner")


def memory_mb(cores: int, processes: int) -> int:
    """Returns what a machine needs: processes such as this one, which has run the network, and an image a core."""
    return round(processes * peak_memory_mb() + cores * DEFAULT_LIMITS.max_memory / 1e6)


def cores_of(machine_type: str) -> int | None:
    """Returns the virtual cores that a name such as n1-standard-4 or m5.2xlarge says; None for one that does not."""
    if match := _GOOGLE.fullmatch(machine_type):
        return int(match.group(1)) or None
    if match := _AMAZON.fullmatch(machine_type):
        return 4 * int(match.group(1) or 1) if match.group(2) else 2
    return None


def nearly(machine_type: str) -> str:
    """Returns what a message ends with about a name that would say its cores if one word of it were spelled right."""
    words = machine_type.lower().split("-")
    mended = [
        "-".join([*words[:place], family, *words[place + 1 :]]) for place in range(len(words)) for family in _FAMILIES
    ]
    return did_you_mean(machine_type, filter(cores_of, mended))

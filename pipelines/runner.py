"""Runs a graph: locally in one process on all cores, or on any runner of Beam's."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import apache_beam as beam
import grpc
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    SparkRunnerOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineResult, create_runner

from transforms import errors
from transforms.embed_shards import COUNTERS
from transforms.files import filesystem

LOCAL_RUNNERS = ("", "direct", "fnapi", "bundlebaseddirect")
"""Names, in small letters and without "Runner"; all of them mean the runner in this process."""
RUNNERS = ("prism", "flink", "spark", "portable", "dataflow")
REFUSED_RUNNERS = {
    "dask": "it loses data silently: what a DoFn emits in finish_bundle, side outputs and files written by "
    "bundles; use the local runner, Flink or Dataflow",
    "interactive": "it is for notebooks; use the local runner",
    "render": "it draws the graph and runs nothing; use the local runner, Flink or Dataflow",
    "switchingdirect": "which runner it ends on depends on the graph; use the local runner or PrismRunner",
}
POLL_SECONDS = 0.2
_LOOPBACK_HOST = r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:|$)"

Build = Callable[[beam.Pipeline], object]


class _Flags(PipelineOptions):  # type: ignore[misc]
    """Beam's flags; each view is made once, since Beam asks for hundreds of them, and each parses the flags anew."""

    def view_as(self, cls: type[PipelineOptions]) -> PipelineOptions:
        """Returns the view, which shares its values with all others."""
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


def check_runner(
    beam_args: Sequence[str],
    places: Iterable[str | None] = (),
    *,
    encoder: str | None = None,
    wait: bool = True,
) -> PipelineOptions:
    """Parses Beam's flags and refuses an engine that would lose data, or whose workers would not find the data.

    Args:
      beam_args: Beam's flags.
      places: addresses that workers read or write.
      encoder: handle of the encoder; a local one may also lie in the workers' image.
      wait: whether this process waits for the job's end.

    Raises:
      OptionError: naming the runner, mode or address and the reason.
    """
    options = _Flags(list(beam_args))
    _check_name(options)
    name = name_of(options)
    if options.view_as(StandardOptions).streaming:
        raise errors.OptionError(
            "--streaming is refused: a run publishes at the end of its input, which a stream has not; leave it out"
        )
    if not wait and name != "dataflow":
        raise errors.OptionError("--no-wait is for --runner=DataflowRunner: other jobs end with this process")
    direct = options.view_as(DirectOptions)
    if is_local(options) and direct.direct_running_mode == "multi_processing":
        raise errors.OptionError(
            "--direct_running_mode=multi_processing is refused: Beam's local worker processes hang for ever when one "
            "dies in set-up; leave it out, the local run uses all cores in one process"
        )
    if works_here(options):
        return options
    local = next((place for place in places if place and filesystem.is_local(place)), None)
    if local is not None:
        or_here = "" if name == "dataflow" else ", or keep the workers here with --environment_type=LOOPBACK"
        raise errors.OptionError(
            f"{local} lies on this machine, where the workers of --runner {_given(options)} do not find it: copy it to "
            f"gs:// or s3:// and name that{or_here}"
        )
    if encoder is not None and os.path.exists(encoder) and not _has_own_image(options):
        raise errors.OptionError(
            f"--encoder {encoder} lies on this machine, where the workers of --runner {_given(options)} do not find "
            "it: put it into their image, at the same path, and name the image with --sdk_container_image"
        )
    return options


def _given(options: PipelineOptions) -> str:
    """Returns the runner's name as it was given, without its module."""
    return (options.view_as(StandardOptions).runner or "").rsplit(".", 1)[-1]


def name_of(options: PipelineOptions) -> str:
    """Returns the runner's name in small letters, as in LOCAL_RUNNERS and RUNNERS."""
    return _given(options).lower().removesuffix("runner")


def _check_name(options: PipelineOptions) -> None:
    name = name_of(options)
    if name in LOCAL_RUNNERS:
        return
    if reason := REFUSED_RUNNERS.get(name):
        raise errors.OptionError(f"--runner {_given(options)} is refused: {reason}")
    try:
        create_runner(options.view_as(StandardOptions).runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise errors.OptionError(f"Beam refuses the call: {error}") from error
    if name not in RUNNERS:
        raise errors.OptionError(
            f"--runner {_given(options)} is refused, since a runner may lose data without a word; there are "
            f"{', '.join(RUNNERS)}"
        )


def _has_own_image(options: PipelineOptions) -> bool:
    portable = options.view_as(PortableOptions)
    return bool(options.view_as(WorkerOptions).sdk_container_image or portable.environment_config)


def works_here(options: PipelineOptions) -> bool:
    """Returns whether the workers run on this machine, as far as the flags tell."""
    if is_local(options):
        return True
    if name_of(options) == "dataflow":
        return False
    portable = options.view_as(PortableOptions)
    if portable.environment_type in ("LOOPBACK", "EMBEDDED_PYTHON"):
        return True
    if portable.environment_type == "EXTERNAL":
        return re.match(_LOOPBACK_HOST, (portable.environment_config or "").removeprefix("http://")) is not None
    if portable.environment_type:
        return False
    flink, spark = options.view_as(FlinkRunnerOptions), options.view_as(SparkRunnerOptions)
    by_default = {  # Beam then chooses LOOPBACK itself
        "prism": True,
        "flink": flink.flink_master in ("[local]", "[auto]"),
        "spark": spark.spark_master_url.startswith("local"),
    }
    return by_default.get(name_of(options), False)


def is_local(options: PipelineOptions) -> bool:
    """Returns whether the run stays in this process."""
    return name_of(options) in LOCAL_RUNNERS


def run_pipeline(build: Build, beam_args: Sequence[str], watch: Callable[[], None] | None = None) -> dict[str, int]:
    """Builds a graph, runs it and waits for its end.

    Args:
      build: puts the steps into a pipeline.
      beam_args: Beam's flags.
      watch: called some times a second on the calling thread while the graph runs.

    Returns:
      Our counters, by name, as far as the runner tells them.

    Raises:
      HeliographError: what a step raised, as its own class when it is one of ours.
      KeyboardInterrupt: on Ctrl-C; the caller is expected to leave the process.
    """
    pipeline = _pipeline(build, beam_args)
    with _job_server(pipeline):
        return _work(pipeline, watch)


def submit_pipeline(build: Build, beam_args: Sequence[str]) -> str:
    """Builds a graph and hands it to Dataflow, which goes on without this process.

    Returns:
      The job's id; empty where ``--template_location`` or ``--dry_run`` leaves the job to another.
    """
    result = _pipeline(build, beam_args).run()
    return result.job_id() if getattr(result, "has_job", False) else ""


def _pipeline(build: Build, beam_args: Sequence[str]) -> beam.Pipeline:
    options = check_runner(beam_args)
    options.view_as(SetupOptions).save_main_session = False
    if works_here(options):
        _quieten("apache_beam", "apache_beam.utils.subprocess_server")
    if is_local(options):
        # Named by string, Beam would first try a runner that it downloads.
        pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)
    else:
        try:
            pipeline = beam.Pipeline(options=options)
        except ValueError as error:
            raise errors.OptionError(f"Beam refuses the call: {error}") from error
    build(pipeline)
    return pipeline


def _work(pipeline: beam.Pipeline, watch: Callable[[], None] | None) -> dict[str, int]:
    failure: list[BaseException] = []
    counters: dict[str, int] = {}

    def work() -> None:
        try:
            result = pipeline.run()
            result.wait_until_finish()
            counters.update(_counters(result))
        except BaseException as error:  # noqa: BLE001  handed to the calling thread, which knows what to do
            failure.append(error)

    thread = threading.Thread(target=work, name="pipeline", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
        if watch is not None:
            watch()
    if failure:
        raise _own_error(failure[0]) from failure[0]
    return counters


def _counters(result: PipelineResult) -> dict[str, int]:
    """Returns the sums over all steps; a runner that keeps no metrics has none."""
    try:
        found = result.metrics().query(MetricsFilter().with_namespace(COUNTERS))["counters"]
    except NotImplementedError:
        return {}
    sums: collections.Counter[str] = collections.Counter()
    for counter in found:
        sums[counter.key.metric.name] += counter.result or 0  # Beam shows a committed 0 as None
    return dict(sums)


@contextlib.contextmanager
def _job_server(pipeline: beam.Pipeline) -> Iterator[None]:
    """Runs the job server that a portable runner needs on this machine; Beam would leave its process behind.

    Raises:
      OptionError: it does not start.
    """
    runner, options = pipeline.runner, pipeline.options
    if not isinstance(runner, PortableRunner) or options.view_as(PortableOptions).job_endpoint:
        yield
        return
    options.view_as(DebugOptions).add_experiment("disable_prism_server_singleton")  # or flags of a run before count
    try:
        server = runner.default_job_server(options)
        server.start()  # on the main thread, since it sets a handler of signals
    except Exception as error:
        raise errors.OptionError(f"Beam's job server does not start: {_reason(error, name_of(options))}") from error
    runner.default_job_server = lambda _: server
    if works_here(options):
        _quieten("PrismJobServer")  # whose level it set itself when it started
    try:
        yield
    finally:
        threading.excepthook = _tell_unless_cut_off
        server.stop()


def _reason(error: Exception, name: str) -> str:
    """Returns what Beam says, or of a jar that it cannot fetch, for which it names a page of addresses, the remedy."""
    jar = re.search(r"Unable to fetch .*/([^/]+\.jar): ", str(error))
    if jar is None:
        return str(error)
    return (
        f"{jar.group(1)} cannot be fetched; give the file with --{name}_job_server_jar, or name a job server that runs "
        "with --runner=PortableRunner --job_endpoint=HOST:PORT"
    )


def _quieten(*loggers: str) -> None:
    """Leaves out what Beam logs of a failure, which is raised here, once; HELIOGRAPH_TRACEBACK=1 keeps it."""
    if not os.environ.get("HELIOGRAPH_TRACEBACK"):
        for name in loggers:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.getLogger().addFilter(_not_of_a_job)


def _not_of_a_job(record: logging.LogRecord) -> bool:
    return record.module != "portable_runner"


def _tell_unless_cut_off(thread: threading.ExceptHookArgs) -> None:
    """Leaves out what Beam's threads say when the job server that they read from is gone."""
    if not isinstance(thread.exc_value, grpc.RpcError):
        threading.__excepthook__(thread)


def _own_error(error: BaseException) -> BaseException:
    """Finds the exception of ours that a runner wrapped in its own; the text is all that crosses a worker."""
    text = re.sub(r" \[while running [^]]*\]", "", str(error))
    if isinstance(error, errors.HeliographError):
        return type(error)(text)
    for match in reversed(list(re.finditer(r"(?:transforms\.errors\.)(\w+): (.+)", text))):
        kind = getattr(errors, match.group(1), None)
        if isinstance(kind, type) and issubclass(kind, errors.HeliographError) and kind is not errors.ImageError:
            return kind(match.group(2).strip())
    if isinstance(error, grpc.FutureTimeoutError):
        return errors.OptionError("nobody answers at --job_endpoint; start the job server, or name the right address")
    lines = [line for line in text.splitlines() if line.strip()]
    place = errors.PlaceError.of(lines[-1]) if lines else None
    if place is not None:
        return place
    return errors.WorkError(f"the run failed: {type(error).__name__}: {lines[-1] if lines else 'no message'}")

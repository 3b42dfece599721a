"""Writes what an evaluation gives: figures (JSON, Parquet), report, summary and record, each whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import shlex
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipelines.report.evaluation import Facts, evaluation_page
from pipelines.report.long_table import long_table
from pipelines.report.markdown import summary
from pipelines.report.page import REPORT, render
from transforms.errors import HeliographError, OptionError
from transforms.files.filesystem import join, open_filesystem, read_bytes, write_atomically
from transforms.measures.files import count_errors, error_examples
from transforms.shards.record import peak_memory_mb, software_versions

COMMAND = "evaluate"
RECORD, METRICS = "run.json", "metrics.json"
TABLE, SUMMARY = "metrics.parquet", "summary.md"

_REASONS = 5  # dead letters of each class that the page shows


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishOptions:
    """What the files tell beside the metrics; plain data.

    Attributes:
      output: directory that they go to.
      predictions: address of what was measured.
      run_id: stands in metrics.json, report.html and run.json, so that a mixture of two runs shows.
      started_at: seconds since the epoch.
      thumbnails: how many of the worst errors are shown as pictures.
      arguments: of the command, as they can be typed again.
      configuration: of the command.
    """

    output: str
    predictions: str
    run_id: str
    started_at: float
    thumbnails: int
    arguments: tuple[str, ...]
    configuration: Mapping[str, Any]


def publish_evaluation(
    metrics: Mapping[str, Any], options: PublishOptions, comparison: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Writes the files, the run record last; replaces what an earlier evaluation wrote.

    Returns:
      The run record.
    """
    metrics = {**metrics, "comparison": comparison}
    dead_letters = count_errors(options.predictions)
    seconds = time.time() - options.started_at
    facts = Facts(
        run_id=options.run_id,
        predictions=options.predictions,
        command=shlex.join(["heliograph", COMMAND, *options.arguments]),
        made_at=f"{datetime.datetime.fromtimestamp(options.started_at, datetime.UTC):%Y-%m-%d %H:%M} UTC",
        seconds=seconds,
        versions=software_versions(),
        dead_letters=dead_letters,
        reasons=error_examples(options.predictions, _REASONS) if dead_letters else (),
        scoring=_scoring(options.predictions),
        thumbnails=options.thumbnails,
    )
    page = render(evaluation_page(metrics, facts))
    metrics = {**metrics, "run_id": options.run_id, "dead_letters": dead_letters}
    filesystem, path = open_filesystem(options.output)
    write_atomically(filesystem, join(path, METRICS), _to_json(metrics))
    write_atomically(filesystem, join(path, TABLE), _to_parquet(long_table(metrics)))
    write_atomically(filesystem, join(path, SUMMARY), summary(metrics, facts.command).encode("utf-8", "replace"))
    write_atomically(filesystem, join(path, REPORT), page.encode("utf-8", "replace"))
    record = _record(metrics, facts, options)
    write_atomically(filesystem, join(path, RECORD), _to_json(record))
    return record


def _record(metrics: Mapping[str, Any], facts: Facts, options: PublishOptions) -> dict[str, Any]:
    counts = metrics["counts"]
    seconds = time.time() - options.started_at
    return {
        "command": COMMAND,
        "run_id": options.run_id,
        "started_at": datetime.datetime.fromtimestamp(options.started_at, datetime.UTC).isoformat(),
        **counts,
        "accuracy": metrics["overall"]["accuracy"],
        "majority_accuracy": metrics["overall"]["majority_accuracy"],
        "warnings": metrics["warnings"],
        "files": [METRICS, TABLE, SUMMARY, REPORT],
        "seconds": round(seconds, 3),
        "rows_per_second": round(counts["rows"] / seconds, 1) if seconds > 0 else 0.0,
        "peak_memory_mb": peak_memory_mb(),
        "versions": dict(facts.versions),
        "configuration": dict(options.configuration),
    }


def _scoring(predictions: str) -> dict[str, Any]:
    """The run record beside the predictions, empty without one."""
    with contextlib.suppress(OSError, ValueError, HeliographError):
        record = json.loads(read_bytes(*open_filesystem(join(predictions, RECORD))))
        return record if isinstance(record, dict) else {}
    return {}


def check_output(output: str) -> None:
    """Refuses a directory that another command wrote to, since their run records have one name.

    Raises:
      OptionError: naming it.
    """
    filesystem, path = open_filesystem(output)
    kind = filesystem.get_file_info(path).type
    if kind == fs.FileType.File:
        raise OptionError(f"--output {output} is a file; name a directory for the report")
    if filesystem.get_file_info(join(path, RECORD)).type != fs.FileType.File:
        names = {info.base_name for info in filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))}
        foreign = {name for name in names - {METRICS, REPORT} if not name.startswith(".")}
        if foreign:  # an interrupted evaluation may have left the other two
            raise OptionError(
                f"--output {output} holds other things ({min(foreign)} …); name an empty or a new directory"
            )
        return
    try:
        record = json.loads(read_bytes(filesystem, join(path, RECORD)))
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("command") != COMMAND:
        raise OptionError(
            f"--output {output} has the {RECORD} of another command; name another directory for the report"
        )


def _to_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace")


def _to_parquet(table: pa.Table) -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream)
    content: bytes = stream.getvalue().to_pybytes()
    return content

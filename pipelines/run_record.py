"""What a command says at its end, and the identity of a run."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.progress import duration
from transforms.errors import OptionError
from transforms.files.filesystem import open_filesystem, read_bytes
from transforms.measures.remarks import plural

CLASSES_SHOWN = 12
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def new_run_id(given: str | None) -> str:
    """Returns the run id that was given, or a new one that sorts by time.

    Raises:
      OptionError: the given one could not be the name of a file.
    """
    if given is None:
        return f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    if not _RUN_ID.fullmatch(given):
        raise OptionError(f"--run-id must be up to 100 letters, digits, '.', '_' or '-', got {given!r}")
    return given


def configuration_json(configuration: Any) -> dict[str, Any]:
    """Returns a command's frozen dataclass as JSON types."""
    fields: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(configuration), default=str))
    return fields


def read_run_record(address: str) -> dict[str, Any]:
    """Reads a run record."""
    filesystem, path = open_filesystem(address)
    record: dict[str, Any] = json.loads(read_bytes(filesystem, path))
    return record


def print_record(record: Mapping[str, Any], as_json: bool, summary: str) -> None:
    """Prints the record to standard output when asked, else the summary for a person."""
    print(json.dumps(record, indent=2) if as_json else summary)
    sys.stdout.flush()


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a line of each row, its cells below those of the row before."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def summarise_images(record: Mapping[str, Any], verb: str, place: str, letters: str = "") -> str:
    """Returns what happened to the images of a run, in some lines for a person.

    Args:
      record: of the run.
      verb: ``embedded`` or ``scored``.
      place: the last line: where the result is.
      letters: where the dead letters are.
    """
    fresh = record[verb] - record["resumed"]
    earlier = f" ({record['resumed']:,} of them by an earlier run)" if record["resumed"] else ""
    lines = [
        f"{plural(record['listed'], 'image')} listed = {record[verb]:,} {verb}{earlier} + {record['reused']:,} reused "
        f"+ {record['failed']:,} failed"
    ]
    if fresh:
        lines.append(
            f"{duration(record['seconds'])} from listing to publishing, {record['images_per_second']:,.0f} images/s, "
            f"peak memory {record['peak_memory_mb']:,.0f} MB"
        )
    else:
        lines.append(f"nothing had to be {verb} again" if record["listed"] > record["failed"] else f"nothing {verb}")
    if record["classes"]:
        lines.append(_class_counts(record, verb))
    if record.get("copied"):
        lines.append(f"{record['copied']:,} of the reused written anew, with vectors known by their content")
    if views := record.get("views", {}).get("rows"):
        lines.append(f"{plural(views, 'row')} of augmented views beside them ({record['views']['policy']})")
    if record["failed"]:
        classes = ", ".join(f"{number} {name}" for name, number in record["failures"].items())
        lines.append(f"failed: {classes}; for example {record['failure_example']}")
        if letters:
            lines.append(f"all of them, with reasons: {letters}")
    removed = record["plan"]["removed"]
    if record.get("retracted"):
        lines.append(f"{record['retracted']:,} that the input has no longer taken out; older versions keep them")
    elif removed:
        lines.append(f"{plural(removed, 'image')} of the store not in the input any more; --sync takes such out")
    lines.append(place)
    return "\n".join(lines)


def _class_counts(record: Mapping[str, Any], verb: str) -> str:
    """Returns the labels of what was embedded, or the classes of what was scored, the most frequent first."""
    counts = dict(record["classes"])
    nothing = counts.pop("", 0)
    if not counts:
        return "without labels" if verb == "embedded" else "no class for any of them"
    told = [f"{label} {number:,}" for label, number in list(counts.items())[:CLASSES_SHOWN]]
    others = len(counts) - len(told) + record["further_classes"]
    told += [f"{others:,} more"] if others else []
    told += [f"{nothing:,} without" if verb == "embedded" else f"none of these {nothing:,}"] if nothing else []
    return f"{'labels' if verb == 'embedded' else 'classes'}: {', '.join(told)}"

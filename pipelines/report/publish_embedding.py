"""Writes the report of ``heliograph embed`` beside its run record; what goes wrong with it never fails the run."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipelines.report.embedding import embedding_page
from pipelines.report.page import render
from pipelines.report.sections.reproduce import RunFacts
from transforms.commit_parts import run_record_address
from transforms.errors import HeliographError
from transforms.files.filesystem import open_filesystem, write_atomically


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--no-report``."""
    parser.add_argument(
        "--no-report", action="store_true", help="make no page of what was embedded, failed, drifted and cost"
    )


def write_report(record: Mapping[str, Any], command: str) -> str | None:
    """Returns the address of the page; None when the run has done nothing, or the page could not be made.

    Args:
      record: of the run.
      command: that was called.
    """
    if not record["embedded"] + record["copied"] + record["failed"]:
        return None
    made_at = datetime.datetime.fromisoformat(record["started_at"])
    try:
        facts = RunFacts(
            run_id=record["run_id"],
            command=command,
            made_at=f"{made_at:%Y-%m-%d %H:%M} UTC",
            seconds=record["seconds"],
            versions=record["versions"],
        )
        page = render(embedding_page(record, facts))
        address = run_record_address(record["table"], record["run_id"]).removesuffix(".json") + ".html"
        filesystem, path = open_filesystem(address)
        write_atomically(filesystem, path, page.encode("utf-8", "replace"))
    except (HeliographError, OSError, pa.ArrowException) as error:
        print(f"heliograph: note: the report could not be made: {error}", file=sys.stderr)
        return None
    except KeyboardInterrupt:
        print("\nheliograph: note: interrupted after all was published; the report is left out", file=sys.stderr)
        return None
    return address

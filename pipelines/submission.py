"""``--no-wait``: a job is handed to Dataflow and the command leaves; the job publishes by itself."""

from __future__ import annotations

import argparse
import json


def add_submission_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flag."""
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="with --runner=DataflowRunner: submit the job and leave; it publishes by itself",
    )


def print_submitted(job: str, run_id: str, record: str, as_json: bool) -> None:
    """Says which job was submitted, and where its run record will be."""
    if as_json:
        print(json.dumps({"job": job, "run_id": run_id, "record": record}), flush=True)
        return
    said = (
        f"submitted: job {job}" if job else "built: the job, which --template_location or --dry_run leaves to another"
    )
    print(f"{said}\nwhen it is done, run {run_id}: {record}", flush=True)

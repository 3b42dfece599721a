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
    print(f"submitted: {f'job {job}' if job else 'the job'}, run {run_id}\nwhen it is done: {record}", flush=True)

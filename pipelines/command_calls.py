"""Calls a command as a person would, for the commands that run others."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from pipelines import cli
from transforms.errors import WorkError


def call_command(words: Sequence[str], shown: TextIO | None = None) -> dict[str, Any]:
    """Runs one command and shows the line that a person would type.

    Args:
      words: name of the command, and its flags.
      shown: where the line goes; standard output by default.

    Returns:
      The run record that it prints.

    Raises:
      WorkError: the command failed; it has said why.
    """
    print(f"$ heliograph {shlex.join(words)}", file=shown or sys.stdout, flush=True)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = cli.main([*words, "--json"])
    if status != 0:
        raise WorkError(f"heliograph {words[0]} ended with exit status {status}; this stops here")
    record: dict[str, Any] = json.loads(output.getvalue())
    return record

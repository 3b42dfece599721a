"""Calls a command as a person would, for the commands that run others."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from pipelines import cli
from transforms.errors import WorkError


def call_command(words: Sequence[str], instead: str = "") -> dict[str, Any]:
    """Runs one command and shows the line that a person would type.

    Args:
      words: name of the command, and its flags.
      instead: a line on standard error in place of that one and of what the command says, unless it fails.

    Returns:
      The run record that it prints.

    Raises:
      WorkError: the command failed; it has said why.
    """
    line = f"$ heliograph {shlex.join(words)}"
    print(instead or line, file=sys.stderr if instead else sys.stdout, flush=True)
    output, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(said if instead else sys.stderr):
        status = cli.main([*words, "--json"])
    if status != 0:
        if instead:
            print(line, said.getvalue(), sep="\n", end="", file=sys.stderr)
        raise WorkError(f"heliograph {words[0]} ended with exit status {status}; this stops here")
    record: dict[str, Any] = json.loads(output.getvalue())
    return record

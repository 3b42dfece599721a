"""What the launcher of the Flex template runs: parameters become flags of a command, which submits its job and leaves.

A parameter has its flag's name with underscores: ``max_failures`` is ``--max-failures``; a flag without a value is
``true`` or ``false``. What the command does not know (``--runner``, ``--template_location`` …) goes to Beam as it is.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from pipelines import cli

COMMANDS = ("embed", "score", "evaluate")


def main(argv: Sequence[str]) -> int:
    """Submits the job of a command; returns the command's exit status."""
    given = dict.fromkeys(argv)
    chosen = [word for word in given if word.startswith("--command=")]
    command = chosen[-1].partition("=")[2] if chosen else COMMANDS[0]
    if command not in COMMANDS:
        print(f"heliograph: parameter command must be one of {', '.join(COMMANDS)}, got {command!r}", file=sys.stderr)
        return 2
    return cli.main([command, *flags_of(command, [word for word in given if word not in chosen]), "--no-wait"])


def flags_of(command: str, words: Sequence[str]) -> list[str]:
    """Returns parameters ``--name=value`` as the command, and after it Beam, understand them."""
    parser = importlib.import_module(f"pipelines.{command}")._parser()
    actions = {option: action for action in parser._actions for option in action.option_strings}
    flags = []
    for word in words:
        name, _, value = word.partition("=")
        own = name.replace("_", "-")
        if own not in actions:
            flags.append(word)
        elif actions[own].nargs != 0:
            flags.append(f"{own}={value}")
        elif value.lower() == "true":
            flags.append(own)
    return flags


if __name__ == "__main__":
    cli.leave(main(sys.argv[1:]))

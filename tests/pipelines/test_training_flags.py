"""Every flag of train, cnn, finetune and models stands in a table of the documents, with its default."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import cnn, finetune, models, train

DOCUMENTS = Path(__file__).parents[2] / "docs"
EVERYWHERE = {"--help", "--json"}


def rows() -> dict[str, str]:
    """Flag to the rows of tables that begin with it."""
    found: dict[str, str] = {}
    for name in ("training.md", "models.md", "sources.md"):
        for line in (DOCUMENTS / name).read_text().splitlines():
            if line.startswith("| `--"):
                for flag in re.findall(r"`(--[a-z0-9-]+)", line.split(" | ")[0]):
                    found[flag] = found.get(flag, "") + line
    return found


def flags(parser: argparse.ArgumentParser) -> Iterator[tuple[str, object]]:
    """Name and default of each flag, of all actions of a command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from flags(inner)
        for flag in action.option_strings:
            if flag.startswith("--") and flag not in EVERYWHERE:
                yield flag, action.default


@pytest.mark.parametrize("command", [train, cnn, finetune, models])
def test_every_flag_is_documented_with_its_default(command) -> None:
    documented = rows()
    for flag, default in flags(command._parser()):
        assert flag in documented, f"{flag} is in no table of docs/training.md, models.md or sources.md"
        if isinstance(default, bool) or default in (None, []):
            continue
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        rest = documented[flag].split(" | ", 1)[1]
        assert re.search(rf"(?<![\w.]){re.escape(shown)}(?![\w.]\w)", rest.replace(",", "")), (
            f"{flag}: no default {shown}: {rest}"
        )

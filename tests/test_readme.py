"""The README is true: its commands run as they stand, its tree is the tree."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from pipelines import cli
from tests.photographs import write_folder

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("heliograph ")]


def test_the_commands_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "photos", per_label=25)
    write_folder(tmp_path / "new", per_label=5, first_seed=300)
    found = commands()
    assert {command[1] for command in found} >= {"embed", "train", "score", "evaluate"}
    for command in found:
        if command[1] != "demo":  # `make demo` is a test of its own
            assert cli.main(command[1:]) == 0, command
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


def tree() -> str:
    """The packages' files, each with the first sentence of its docstring."""
    lines = []
    for top in ("pipelines", "transforms"):
        for path in sorted((ROOT / top).rglob("*.py"), key=lambda p: (p.parent, p.name)):
            text = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].replace("\n", " ")
            if path.name == "__init__.py":
                depth = len(path.relative_to(ROOT).parts) - 2
                lines.append(f"{'  ' * depth}{path.parent.name}/".ljust(32) + text)
            else:
                depth = len(path.relative_to(ROOT).parts) - 1
                lines.append(f"{'  ' * depth}{path.name}".ljust(32) + text)
    return "\n".join(line.rstrip() for line in lines)


def test_the_tree_is_the_tree() -> None:
    shown = re.search(r"<!-- tree -->\n```\n(.*?)\n```", README, flags=re.DOTALL)
    assert shown is not None
    assert shown.group(1) == tree(), f"README.md's tree is old; it should be:\n{tree()}"


def test_every_module_says_what_it_is() -> None:
    for line in tree().splitlines():
        assert len(line.split(maxsplit=1)) == 2, line
        assert len(line) < 200, line


def test_the_changelog_and_the_version_agree() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert version is not None
    assert newest is not None
    assert newest.group(1) == version.group(1)


def test_every_command_is_in_the_readme() -> None:
    for name in cli.COMMANDS:
        assert f"`heliograph {name}`" in README

"""The rules of the house that a test can hold: who may import whom, and what a file or folder is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("transforms/**/*.py"), *ROOT.glob("pipelines/**/*.py")])
COMMANDS = {
    *("embed", "train", "cnn", "finetune", "score", "evaluate"),
    *("store", "models", "retry", "estimate", "demo", "conformance"),
}
HEAVY = {"tensorflow", "tensorflow_hub", "keras", "tf_keras", "kagglehub"}
EXTRAS = {"boto3", "botocore", "google"}
"""Packages that come with an extra and may be missing."""
STEPS = {path.stem for path in ROOT.glob("transforms/*.py")} - {"__init__", "errors"}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if not top_level_only else iter(_executed_at_import(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _executed_at_import(tree: ast.Module) -> list[ast.stmt]:
    return [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_run_one_way(path: Path) -> None:
    found = imports(path)
    parts = path.relative_to(ROOT).parts
    if parts[0] == "transforms":
        assert not {name for name in found if name.split(".")[0] == "pipelines"}
        if len(parts) > 2:  # a thing
            assert not {name for name in found if name.startswith("apache_beam")}
            steps = {name for name in found if name.startswith("transforms.") and name.split(".")[1] in STEPS}
            assert not steps, "a thing imports a step"
    elif path.stem in COMMANDS:
        others = {f"pipelines.{name}" for name in COMMANDS - {path.stem}}
        assert not found & others, "commands never import each other"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    assert not {name for name in imports(path, top_level_only=True) if name.split(".")[0] in HEAVY}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_and_functions_stay_small(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 400
    if path.parent == ROOT / "pipelines" and path.stem in COMMANDS:
        assert len(lines) <= 200
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            body = node.end_lineno - node.body[0].lineno + 1
            assert body <= 50, f"{node.name} has {body} lines"


def test_steps_are_named_by_a_verb_and_hold_a_transform() -> None:
    for name in STEPS:
        text = (ROOT / "transforms" / f"{name}.py").read_text()
        step = "".join(word.capitalize() for word in name.split("_"))
        assert "beam.PTransform" in text, name
        assert f"class {step}(beam.PTransform)" in text
        assert "@dataclasses.dataclass(kw_only=True)" in text


def test_no_module_loads_tensorflow_and_help_loads_nothing() -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in SOURCES]
    script = (
        "import sys, importlib\n"
        "from pipelines import cli\n"
        "cli.main(['--help'])\n"
        "assert 'apache_beam' not in sys.modules and 'numpy' not in sys.modules\n"
        f"for name in {modules!r}:\n"
        "    try: importlib.import_module(name)\n"
        f"    except ModuleNotFoundError as error: assert error.name.split('.')[0] in {EXTRAS!r}\n"
        "print(sorted({'tensorflow', 'keras', 'tf_keras', 'tensorflow_hub'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


def test_things_import_only_things_below_them() -> None:
    """No two things import each other, at any distance."""
    graph: dict[str, set[str]] = {}
    for path in ROOT.glob("transforms/*/*.py"):
        thing = path.parent.name
        used = {name.split(".")[1] for name in imports(path) if name.startswith("transforms.")}
        graph.setdefault(thing, set()).update(
            (used & {p.parent.name for p in ROOT.glob("transforms/*/*.py")}) - {thing}
        )

    def reach(thing: str, seen: frozenset[str]) -> set[str]:
        assert thing not in seen, f"{' → '.join(sorted(seen))} import each other"
        return {thing}.union(*(reach(below, seen | {thing}) for below in graph[thing]))

    for thing in graph:
        reach(thing, frozenset())

"""Other teams' tools read a store with none of our code: each script of docs/consumers is run as it stands.

A script runs with the Python that ``HELIOGRAPH_PYTHON_<TOOL>`` names (docs/consumers/run_in_own_environment.sh sets
it for Feast and Spark), else with this one; it is skipped where its tool is not installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.transforms.store import builders
from transforms.store import open_features
from transforms.store.table import FeatureTable

SCRIPTS = Path(__file__).parents[2] / "docs/consumers"
OWN_ENVIRONMENT = {"feast": "feast", "spark": "pyspark"}
IN_TEST_ENVIRONMENT = {
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "polars": "polars",
    "duckdb": "duckdb_extension_delta",
    "datasets": "datasets",
}
TOOLS = IN_TEST_ENVIRONMENT | OWN_ENVIRONMENT


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FeatureTable:
    """Thirty images, then one of them changed, then one retracted; an orphan beside them; not to be changed."""
    made = builders.make_table(tmp_path_factory.mktemp("store"))
    made.append("one", [builders.write_part(made, range(20)), builders.write_part(made, range(20, 30))])
    made.append("two", [builders.write_part(made, [4], 1)], [builders.image_id(4)], base_version=1)
    made.append("three", [], [builders.image_id(9)])
    builders.write_part(made, [99])
    return FeatureTable.open(made.path)


def expected(table: FeatureTable, version: int | None) -> list[float]:
    store = str(Path(table.path).parent)
    tests = open_features(store, version=version, splits=["test"]).numpy([])
    total = sum(float(vector[0]) for vector in tests.embeddings)
    return [open_features(store, version=version).arrow_dataset().count_rows(), len(tests.embeddings), total]


def python_of(tool: str) -> str:
    python = os.environ.get(f"HELIOGRAPH_PYTHON_{tool.upper()}", sys.executable)
    module = TOOLS[tool]
    found = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False, timeout=120)
    if found.returncode:
        if f"HELIOGRAPH_PYTHON_{tool.upper()}" in os.environ:
            pytest.fail(f"{python} has no {module}: {found.stderr.decode()[-500:]}")
        if tool in IN_TEST_ENVIRONMENT and os.environ.get("CI"):
            pytest.fail(f"{module} is not installed; it belongs to the dev dependencies")
        pytest.skip(f"{module} is not installed; see docs/consumers/run_in_own_environment.sh")
    return python


@pytest.mark.parametrize("version", [None, 1], ids=["newest", "version-1"])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_of_others_reads_the_table(table: FeatureTable, tool: str, version: int | None, tmp_path: Path) -> None:
    call = [python_of(tool), str(SCRIPTS / f"with_{tool}.py"), table.path, *([] if version is None else [str(version)])]
    environment = {**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=240, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    rows, tests, total = done.stdout.splitlines()[-1].split()
    wanted = expected(table, version)
    assert [int(rows), int(tests)] == wanted[:2]
    assert float(total) == pytest.approx(wanted[2], abs=1e-3)


def test_every_script_uses_none_of_our_code_and_is_run() -> None:
    scripts = {path.stem.removeprefix("with_"): path.read_text() for path in SCRIPTS.glob("*.py")}
    assert set(scripts) == set(TOOLS)
    for text in scripts.values():
        assert "transforms" not in text
        assert "pipelines" not in text

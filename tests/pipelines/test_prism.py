"""Prism, the portable runner that Beam writes in Go: it gives the local runner's answer."""

from __future__ import annotations

import json
import shutil
import sysconfig
from pathlib import Path

import pytest

from pipelines import conformance

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prism() -> str:
    path = shutil.which("prism", path=sysconfig.get_path("scripts"))
    if path is None:
        pytest.skip("Prism is not built: bash tests/build_prism.sh .venv/bin, which needs Go")
    return path


def test_prism_conforms(prism: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ["--runner=PrismRunner", f"--prism_location={prism}"]
    status = conformance.main(["--directory", str(tmp_path), "--images", "24", "--json", *flags])
    printed = capfd.readouterr()
    assert status == 0, printed.err
    assert {check["verdict"] for check in json.loads(printed.out)["checks"]} == {"same"}
    assert "Traceback" not in printed.err

"""Prism, the portable runner that Beam writes in Go: it gives the local runner's answer."""

from __future__ import annotations

import json
import shutil
import sysconfig
from pathlib import Path

import pytest

from pipelines import conformance, embed

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


def test_what_fails_on_prism_is_our_own_error(
    prism: str, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"uri\n{photos}/disc/0000.jpg\n{photos}/none.jpg\n")
    call = ["--input", str(manifest), "--input-root", str(photos), "--store", str(tmp_path / "store"), "--no-report"]
    flags = ["--runner=PrismRunner", f"--prism_location={prism}", "--max-failures=0"]
    assert embed.main([*call, *flags]) == 1
    printed = capfd.readouterr()
    assert printed.err.splitlines()[-1].startswith(
        "heliograph: 1 of 2 images failed, more than --max-failures 0 allows"
    )
    assert "2 images listed = 1 embedded + 0 reused + 1 failed" in printed.out, "what could be embedded is published"

"""The report in a real browser: nothing is fetched, nothing complains, and everybody can read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from pipelines.report.evaluation import Facts, evaluation_page
from pipelines.report.page import render
from tests.transforms.measures.example import batch, random_rows
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions

FACTS = Facts(
    run_id="run", predictions="/p", command="heliograph evaluate", made_at="now", seconds=1.0, versions={"python": "3"}
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    evaluation = Evaluation(MeasureOptions())
    rows, _, _ = random_rows(400)
    evaluation.add(batch(*rows))
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(evaluation_page(evaluation.compute(), FACTS)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser, report: str) -> Iterator[Page]:
    context = browser.new_context(color_scheme=request.param)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda made: complaints.append(made.url) if made.url[:5] not in ("file:", "data:") else None)
    page.goto(report)
    yield page
    context.close()
    assert complaints == []


def test_nothing_is_fetched_and_nothing_complains(page: Page) -> None:
    assert page.locator("h1").count() == 1
    assert page.locator(".js-plotly-plot svg").first.is_visible()


def test_axe_has_no_serious_finding(browser: Browser, report: str) -> None:
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, bypass_csp=True)
        page = context.new_page()
        page.goto(report)
        found = Axe().run(page).response["violations"]
        context.close()
        serious = [(rule["id"], len(rule["nodes"])) for rule in found if rule["impact"] in ("serious", "critical")]
        assert serious == [], scheme

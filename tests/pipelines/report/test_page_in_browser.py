"""The report in a real browser: nothing is fetched, nothing complains, and everybody can read and use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from pipelines.report.evaluation import Facts, evaluation_page
from pipelines.report.page import render
from tests.transforms.measures.example import batch, random_rows
from transforms.measures.comparison import Comparison
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions

HOSTILE = "<img src=x onerror=alert(1)>"
OPEN_ALL = "document.querySelectorAll('details').forEach((element) => { element.open = true; })"
NAMES = ("bee", "cat", HOSTILE)


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory: Path = tmp_path_factory.mktemp("pictures")
    rows, _, _ = random_rows(400, names=NAMES)
    for index, entry in enumerate(rows):
        path = directory / f"<script>alert({index % 12})</script>.png".replace("/", "_")
        if index < 12:
            Image.new("RGB", (40, 30), (20 * index, 90, 120)).save(path)
        entry["image_uri"] = str(path)
        entry["attributes"] = [*entry["attributes"], ("night", f"<b>{index % 2}")]
        entry["image_id"] = f"{index:032x}"
    others = [
        dict(entry, displayNames=entry["displayNames"][::-1]) if index % 5 == 0 else dict(entry)
        for index, entry in enumerate(rows)
    ]
    options = MeasureOptions(minimum_slice=20)
    evaluation, comparison = Evaluation(options), Comparison(options)
    evaluation.add(batch(*rows))
    comparison.add(batch(*rows), batch(*others))
    return {**evaluation.compute(), "comparison": comparison.compute("/p", "/<i>old")}


@pytest.fixture(scope="module")
def report(metrics: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    facts = Facts(
        run_id="run",
        predictions="/p",
        command="heliograph evaluate",
        made_at="now",
        seconds=1.0,
        versions={"python": "3"},
        dead_letters={"CORRUPT": 2},
        reasons=[{"error_class": "CORRUPT", "image_uri": "/<script>.png", "error_message": "truncated"}],
        scoring={"seconds": 3.0, "scored": 400, "images_per_second": 133.0, "stage_seconds": {"decode": 2.0}},
    )
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(evaluation_page(metrics, facts)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser, report: str) -> Iterator[Page]:
    context = browser.new_context(color_scheme=request.param)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda made: complaints.append(made.url) if made.url[:5] not in ("file:", "data:") else None)
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.goto(report)
    yield page
    context.close()
    assert complaints == []


def test_a_person_uses_the_page(page: Page, metrics: dict[str, Any]) -> None:
    """One visit, since to open the page takes longer than anything in it."""
    assert page.locator("h1").count() == 1
    assert page.locator(".js-plotly-plot svg").first.is_visible()
    expect(page.locator("#curves-roc .legendtext").filter(has_text=HOSTILE)).to_have_count(1)
    _open_a_cell(page)
    _sort_a_table(page, metrics)
    _move_the_slider(page, metrics)
    page.get_by_label("Figure", exact=True).select_option(index=2)
    expect(page.locator("#slices-forest-2 svg").first).to_be_visible()
    expect(page.locator("#slices-forest-0")).to_be_hidden()


def _open_a_cell(page: Page) -> None:
    cell = page.get_by_role("button", name="labelled bee, predicted cat").first
    panel = page.get_by_role("group", name="Images labelled bee, predicted cat")
    expect(panel).to_be_hidden()
    cell.focus()
    page.keyboard.press("Enter")
    expect(panel).to_be_focused()
    expect(cell).to_have_attribute("aria-expanded", "true")
    assert panel.locator("img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(cell).to_be_focused()
    cell.click()
    other = page.get_by_role("button", name="labelled cat, predicted cat").first
    other.click()
    expect(panel).to_be_hidden()
    expect(other).to_have_attribute("aria-expanded", "true")
    page.get_by_role("button", name="Close").click()
    expect(other).to_have_attribute("aria-expanded", "false")


def _sort_a_table(page: Page, metrics: dict[str, Any]) -> None:
    table = page.get_by_role("region", name="Figures of each class")
    head = table.get_by_role("columnheader", name="average precision")
    figures = {entry["name"]: entry["average_precision"] for entry in metrics["classes"]}
    for order, reverse in (("ascending", False), ("descending", True)):
        head.get_by_role("button").press("Enter")
        expect(head).to_have_attribute("aria-sort", order)
        names = table.locator("tbody th").all_inner_texts()
        assert names == sorted(figures, key=lambda name: figures[name], reverse=reverse)


def _move_the_slider(page: Page, metrics: dict[str, Any]) -> None:
    curves = metrics["curves"]
    page.get_by_label("Class", exact=True).select_option(label="cat")
    slider = page.get_by_label("Threshold", exact=True)
    slider.press("End")
    slider.press("ArrowLeft")
    entry = next(entry for entry in curves["classes"] if entry["name"] == "cat")
    expect(slider).to_have_attribute("aria-valuetext", f"{curves['thresholds'][-2]:g}")
    slider.fill(str(curves["thresholds"].index(0.3)))
    place = curves["thresholds"].index(0.3)
    expected = f"{100 * entry['true_positives'][place] / entry['positives']:.1f}%"
    expect(page.locator('[data-rate="true_positive_rate"]')).to_have_text(expected)
    expect(page.locator(".outcome")).to_contain_text(f"{entry['true_positives'][place]:.0f} of the")


def test_a_phone_need_not_scroll_sideways(browser: Browser, report: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    page.goto(report)
    page.evaluate(OPEN_ALL)
    page.locator("#confusion .matrix button").first.tap()
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_no_serious_finding(browser: Browser, report: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(report)
    page.evaluate(OPEN_ALL)
    page.locator("#confusion .matrix button").first.click()
    found = Axe().run(page).response["violations"]
    context.close()
    serious = [
        (rule["id"], [node["target"] for node in rule["nodes"]][:3])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
    assert serious == []

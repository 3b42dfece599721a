from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.report import page as report_page
from pipelines.report.evaluation import Facts, evaluation_page
from pipelines.report.page import render
from pipelines.report.verdict import calibration_verdict
from tests.transforms.measures.example import batch, random_rows, row
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions

HOSTILE = ("<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "' onmouseover='alert(3)")


class _Parsed(HTMLParser):
    """Collects elements, the contents of scripts and styles, and the visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.text = ""
        self._open = ""
        self._attributes: dict[str, str | None] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open, self._attributes = tag, dict(attrs)

    def handle_endtag(self, tag: str) -> None:
        self.text += " " if tag in ("td", "th", "dd", "dt") else ""
        if tag == self._open:
            self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts.append((self._attributes, data))
        elif self._open == "style":
            self.styles.append(data)
        else:
            self.text += data

    def first(self, tag: str, **attributes: str) -> dict[str, str | None]:
        return next(found for name, found in self.elements if name == tag and found.items() >= attributes.items())


def _metrics(*rows: dict[str, Any], **options: Any) -> dict[str, Any]:
    evaluation = Evaluation(MeasureOptions(**options))
    if rows:
        evaluation.add(batch(*rows))
    return evaluation.compute()


def _facts(**changes: Any) -> Facts:
    fields = {
        "run_id": "run-1",
        "predictions": "/data/predictions",
        "command": "heliograph evaluate --predictions /data/predictions --output /data/report",
        "made_at": "2026-01-02 03:04 UTC",
        "seconds": 1.25,
        "versions": {"python": "3.11"},
    }
    return Facts(**(fields | changes))


def _page(metrics: dict[str, Any], facts: Facts) -> str:
    return render(evaluation_page(metrics, facts))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


@pytest.fixture(scope="module")
def ordinary() -> str:
    rows, _, _ = random_rows(200)
    return _page(_metrics(*rows), _facts(dead_letters={"CORRUPT": 3}))


def test_the_page_says_what_the_metrics_say(ordinary: str) -> None:
    rows, _, _ = random_rows(200)
    metrics = _metrics(*rows)
    text = " ".join(_Parsed(ordinary).text.split())
    overall = metrics["overall"]
    low, high = overall["accuracy_interval"]
    assert f"{overall['accuracy']:.1%} of 200 predictions are right (95% interval {low:.1%} to {high:.1%})" in text
    assert f"the {overall['majority_accuracy']:.1%} that always answering “{overall['majority_class']}”" in text
    for entry in metrics["classes"]:
        figures = f"{entry['support']} {entry['predicted']} {entry['recall']:.1%} {entry['precision']:.1%}"
        assert figures in text
    assert "CORRUPT" in text
    assert "200 = 200 measured + 0 without a label" in text
    assert "heliograph evaluate --predictions /data/predictions --output /data/report" in text
    assert "Left out: serial (more than 20 values)." in text


def test_the_page_is_one_file_and_stays_off_the_network(ordinary: str) -> None:
    assert ordinary.startswith("<!doctype html>")
    assert len(ordinary.encode()) < 8 * 2**20
    assert "\r" not in ordinary  # a parser drops it, and the hashes of the policy would not fit
    page = _Parsed(ordinary)
    assert {name for name, _ in page.elements}.isdisjoint({"link", "iframe", "object", "embed", "base", "form"})
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "background", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))
    assert "url(" not in page.styles[0]
    assert "@import" not in page.styles[0]


def test_only_the_scripts_and_styles_of_the_page_may_run(ordinary: str) -> None:
    page = _Parsed(ordinary)
    policy = page.first("meta", **{"http-equiv": "Content-Security-Policy"})["content"] or ""
    assert "'unsafe" not in policy
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    run = [content for attributes, content in page.scripts if attributes.get("type") != "application/json"]
    assert len(run) == 2
    assert rules["script-src"] == [_hash(content) for content in run]
    assert rules["style-src-elem"] == [_hash(page.styles[0]), _hash("")]
    assert not any(name == "style" or name.startswith("on") for _, found in page.elements for name in found)
    assert ordinary.index("Content-Security-Policy") < ordinary.index("<script")


def test_labels_addresses_and_attributes_cannot_become_markup() -> None:
    rows = [
        row(
            list(HOSTILE),
            [0.5, 0.3, 0.2],
            [HOSTILE[index % 3]],
            image_uri="/images/<script>alert(4)</script>.png",
            model_version=HOSTILE[1],
            attributes=[(HOSTILE[0], HOSTILE[1]), (HOSTILE[1], HOSTILE[0])],
        )
        for index in range(60)
    ]
    facts = _facts(predictions=HOSTILE[1], command=HOSTILE[1], dead_letters={HOSTILE[1]: 1}, run_id=HOSTILE[2])
    html = _page(_metrics(*rows), facts)
    page = _Parsed(html)
    assert "alert(" not in page.styles[0]
    data = [content for attributes, content in page.scripts if attributes.get("type") == "application/json"]
    run = [content for attributes, content in page.scripts if "type" not in attributes]
    assert len(data) + len(run) == len(page.scripts)
    assert len(run) == 2
    assert "alert(" not in run[1]
    charts = [content for attributes, content in page.scripts if "data-chart" in attributes]
    texts = [text for content in charts for text in _texts(json.loads(content))]
    assert any("alert(" in text for text in texts)
    assert not any("<img" in text or "<script" in text for text in texts)  # the charts' library reads markup
    assert not any(name == "img" for name, _ in page.elements)
    assert not any(name.startswith("on") for _, found in page.elements for name in found)
    assert "/images/<script>alert(4)</script>.png" in page.text
    for text in HOSTILE:
        assert text in page.text


def test_the_chart_has_the_bins(ordinary: str) -> None:
    scripts = _Parsed(ordinary).scripts
    figure = json.loads(
        next(content for found, content in scripts if found.get("data-chart") == "calibration-reliability")
    )
    rows, _, _ = random_rows(200)
    bins = [entry for entry in _metrics(*rows)["calibration"] if entry["rows"]]
    assert figure["data"][0]["y"] == [entry["accuracy"] for entry in bins]
    assert sum(figure["data"][2]["y"]) == pytest.approx(1)
    section = re.search('<section id="calibration".*?</section>', ordinary, re.DOTALL)
    assert section
    assert calibration_verdict(_metrics(*rows)) in section.group()


def test_tables_have_headers_and_regions_have_names(ordinary: str) -> None:
    page = _Parsed(ordinary)
    assert page.first("html")["lang"] == "en"
    assert page.first("meta", name="viewport")
    assert all(found.get("scope") in ("row", "col") for name, found in page.elements if name == "th")
    scrolled = [found for _, found in page.elements if found.get("class") == "scroll"]
    assert scrolled
    assert all(found["tabindex"] == "0" and found["aria-label"] for found in scrolled)
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert {found["aria-labelledby"] for _, found in page.elements if "aria-labelledby" in found} <= set(ids)
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1


def test_worst_errors_are_pictures_or_placeholders(tmp_path: Path) -> None:
    Image.new("RGB", (400, 200), (200, 30, 30)).save(tmp_path / "wide.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    rows = [
        row(["a", "b"], [0.9, 0.1], ["b"], image_uri=uri)
        for uri in (str(tmp_path / "wide.png"), str(tmp_path / "broken.jpg"), str(tmp_path), "http://x/y.png", "", "\0")
    ]
    page = _Parsed(_page(_metrics(*rows), _facts()))
    pictures = [found for name, found in page.elements if name == "img"]
    assert {found["alt"] for found in pictures} == {"Labelled b, predicted a"}
    assert {found["data-picture"] for found in pictures} == {"0"}  # the only one, however often it is shown
    assert len(pictures) == 3  # worst, least confident, and in its cell of the matrix
    assert page.text.count("no picture") == 3 * 5
    few = _Parsed(_page(_metrics(*rows), _facts(thumbnails=2)))
    assert sum(name == "figure" for name, _ in few.elements) == 6  # of the cell; the galleries' two have no picture
    assert [found["aria-label"] for _, found in few.elements if "aria-label" in found].count(
        "Rows without pictures"
    ) == 2
    assert "The worst errors" not in _page(_metrics(*rows), _facts(thumbnails=0))


def test_a_page_of_ten_thousand_images_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thumbnails of 12 kB, more than any of 160 pixels takes, and galleries as long as anybody may ask for."""
    monkeypatch.setattr(report_page, "thumbnails", lambda uris: [f"data:,{uri:x<12000}" for uri in uris])
    rows, _, _ = random_rows(10_000, names=tuple(f"class {index:02d}" for index in range(12)))
    html = _page(_metrics(*rows, worst=2_000), _facts(thumbnails=2_000))
    assert len(html.encode()) <= 8_000_000
    page = _Parsed(html)
    shown = [found for name, found in page.elements if name == "img"]
    assert len({found["data-picture"] for found in shown}) == report_page.THUMBNAIL_BYTES // 12_006


def test_many_classes_show_mistakes_instead_of_a_matrix() -> None:
    names = tuple(f"class{index:03d}" for index in range(60))
    rows, _, _ = random_rows(300, 3, names)
    page = _Parsed(_page(_metrics(*rows), _facts()))
    assert "There are 60 classes, too many for a matrix" in page.text
    assert not any("matrix" in (found.get("class") or "") for _, found in page.elements)


@pytest.mark.parametrize("rows", [[], [row(["a", "b"], [0.5, 0.5], ["a"])], [row(["a"], [0.5], ["z"])]])
def test_a_page_is_made_of_next_to_nothing(rows: list[dict[str, Any]]) -> None:
    text = _Parsed(_page(_metrics(*rows), _facts())).text
    assert "nan" not in text.lower()
    assert "None" not in text
    assert "Before you trust these figures" in text

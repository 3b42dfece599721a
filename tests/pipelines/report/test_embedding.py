"""The report of embed: what it says, and that a browser, a keyboard and a screen reader can use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import Browser

from pipelines.report import embedding
from pipelines.report.embedding import embedding_page
from pipelines.report.page import Page, render
from pipelines.report.sections.reproduce import RunFacts
from tests.pipelines.report.browsing import is_too_wide, opened, serious_findings
from tests.pipelines.training.builders import make_table
from transforms.shards.record import cost_of_work
from transforms.store.dead_letters import DIRECTORY, write_letters
from transforms.store.schema import DEAD_LETTER_SCHEMA
from transforms.store.table import FeatureTable

HOSTILE = "<script>alert(1)</script>"
RUN = "second"


def write_letter(table: FeatureTable, run_id: str, uri: str) -> None:
    row = dict.fromkeys(DEAD_LETTER_SCHEMA.names)
    row |= {"image_id": uri, "image_uri": uri, "error_class": "CORRUPT", "error_message": HOSTILE, "run_id": run_id}
    letters = pa.Table.from_pylist([row], schema=DEAD_LETTER_SCHEMA)
    write_letters(f"{table.path}/{DIRECTORY}/{run_id}/shard.parquet", letters)


def record_of(table: FeatureTable, **fields: Any) -> dict[str, Any]:
    return {
        "run_id": RUN,
        "started_at": "2026-11-23T01:02:03+00:00",
        "listed": 61,
        "embedded": 60,
        "reused": 0,
        "failed": 1,
        "resumed": 0,
        "copied": 0,
        "plan": {"new": 61, "changed": 0, "relabelled": 0, "reused": 0, "removed": 40},
        "failures": {"CORRUPT": 1},
        "seconds": 12.0,
        "images_per_second": 5.0,
        "stage_seconds": {"decode": 2.0, "encode": 6.0},
        "peak_memory_mb": 300.0,
        **cost_of_work(24.0, 60, 0.04),
        "versions": {"python": "3"},
        "table": table.path,
        "table_version": table.version,
        "encoder": "tiny",
        "encoder_fingerprint": "0123",
        "configuration": {"input": ["/photographs"]},
        **fields,
    }


FACTS = RunFacts(
    run_id=RUN,
    command="heliograph embed",
    made_at="now",
    seconds=12.0,
    versions={"python": "3"},
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Of a table whose second run is far from its first, with two planted duplicates that contradict each other."""
    store = tmp_path_factory.mktemp("store")
    generator = np.random.default_rng(0)
    make_table(store, generator.normal(size=(40, 48)).astype(np.float32), [["cat"]] * 40, ["train"] * 40)
    vectors = generator.normal(size=(60, 48)).astype(np.float32) + 2
    vectors[10] = vectors[3]
    labels = [[HOSTILE] if row % 3 else [] for row in range(60)]
    table = make_table(store, vectors, labels, ["train", "test"] * 30, run_id=RUN)
    write_letter(table, RUN, f"/{HOSTILE}.jpg")
    write_letter(table, "another", "/of-another-run.jpg")
    return embedding_page(record_of(FeatureTable.open(table.path)), FACTS)


@pytest.fixture(scope="module")
def file(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("page") / "run.html"
    path.write_text(render(page), encoding="utf-8")
    return path


def test_the_page_says_what_happened(page: Page) -> None:
    assert page.verdict == "Of 61 listed, 60 images were embedded, 1 (1.6%) could not be embedded."
    assert page.against[0].startswith("The new images are very different from the earlier ones: energy distance 0.")
    sections = {section.id: section for section in page.sections if section}
    assert list(sections) == ["contents", "dead", "map", "duplicates", "drift", "throughput", "measured"]
    assert sections["contents"].data["rows"] == [
        [HOSTILE, ("20", 20), ("20", 20), ("40", 40), ("40", 40)],
        ["cat", ("40", 40), ("–", 0), ("40", 40), ("–", 0)],
        ["without a label", ("10", 10), ("10", 10), ("20", 20), ("20", 20)],
    ]
    assert [uri for _, uri, _ in sections["dead"].data["reasons"]] == [f"/{HOSTILE}.jpg"]
    assert [name for _, name in sections["map"].data["options"]] == ["label", "split", "run"]
    assert sections["duplicates"].data["entries"][0]["doubt"] == f"labelled nothing and {HOSTILE}; in test and train"
    cards = {name: value for value, name, _ in sections["throughput"].data["cards"]}
    assert (cards["images a core-second"], cards["cost"]) == ("2.5", "0.00027")


def test_a_first_run_has_no_drift_and_a_handful_no_map(tmp_path: Path) -> None:
    table = make_table(tmp_path, np.eye(4, 48, dtype=np.float32), [["cat"]] * 4, ["train"] * 4)
    fields = {"run_id": "run", "failed": 0, "failures": {}, "stage_seconds": {}}
    page = embedding_page(record_of(table, **fields), FACTS)
    assert [section.id for section in page.sections if section] == ["contents", "throughput", "measured"]


def test_pictures_in_large_containers_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tar").write_bytes(b"x" * 100)
    monkeypatch.setattr(embedding, "CONTAINER_BYTES", 99)
    section = embedding.Section(id="s", title="", short="", template="", images=[f"{tmp_path}/a.tar#x.jpg", "/b.jpg"])
    kept = embedding._affordable(section)
    assert kept is not None
    assert kept.images == ["/b.jpg"]


def test_nothing_hostile_runs_and_all_can_use_it(browser: Browser, file: Path) -> None:
    for scheme, width in (("light", 1200), ("dark", 390)):
        with opened(browser, file, scheme, width) as page:
            assert page.get_by_text(HOSTILE).first.is_visible()
            assert not is_too_wide(page)
    assert serious_findings(browser, file) == []
    assert file.stat().st_size < 8_000_000


def test_the_map_is_walked_by_keyboard_and_pointer(browser: Browser, store: Path) -> None:
    (file,) = store.glob("*/_runs/*.html")
    with opened(browser, file) as page:
        seen, slider = page.locator(".seen"), page.get_by_role("slider")
        slider.focus()
        page.keyboard.press("End")
        last = seen.locator("figcaption").inner_text()
        assert "label stripes" in last
        assert slider.get_attribute("aria-valuetext") is not None
        assert seen.locator("img").evaluate("image => image.naturalWidth") > 0
        box = page.locator("#map .points path").first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_function("before => document.querySelector('.seen figcaption').innerText !== before", arg=last)
        page.get_by_label("Coloured by").select_option("split")
        legends = page.locator("#map .chart:visible .legendtext").all_text_contents()
        assert any(text.startswith("train (") for text in legends)

"""The report of train: what it says, and that a browser and a screen reader can use it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from pipelines.report.page import Page, render
from pipelines.report.trained_rows import TableRows
from pipelines.report.training import Trained, predictions, report_files, training_page
from pipelines.training import outcome
from pipelines.training.checks import CheckSettings
from pipelines.training.features import Examples
from pipelines.training.fit_settings import FitSettings
from pipelines.training.lab import LabSettings
from pipelines.training.measure import measure
from pipelines.training.remedy_settings import RemedySettings
from pipelines.training.sweep_settings import SweepSettings
from tests.pipelines.report.browsing import is_too_wide, opened, serious_findings
from tests.pipelines.training.builders import features, make_table
from transforms.errors import StoreError
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions
from transforms.model.decision import Decision
from transforms.model.head import Head
from transforms.store.table import FeatureTable

HOSTILE = "<script>alert(1)</script>"
FIT = FitSettings(train_epochs=5, l2_regularizer=0.01, learning_rate=0.02)
SWEEP = SweepSettings(
    search="grid",
    values=(("dropout-rate", ("0", "0.5")), ("hidden-units", ("0",)), ("class-weights", ("none",))),
    folds=0,
)


def table_of(store: Path, splits: tuple[str, ...] = ("train", "train", "train", "validation", "test")) -> FeatureTable:
    """200 vectors of two classes that lie apart, but for some of them."""
    generator = np.random.default_rng(3)
    targets = np.arange(200) // 5 % 2
    vectors = generator.normal(size=(200, 40)).astype(np.float32)
    vectors[:, 0] += 2 * targets
    labels = [[("cat", HOSTILE)[target]] for target in targets]
    return make_table(store, vectors, labels, (splits * 200)[:200])


def trained_on(table: FeatureTable, model: Path, lab: LabSettings = LabSettings()) -> Trained:  # noqa: B008
    found = outcome.from_memory(table, FIT, lab, CheckSettings(label_errors=True), RemedySettings())
    rows = TableRows(table=table, held_out=bool(found.metrics["held_out"]))
    return Trained(model=str(model), digest="0123", rows=rows, command="heliograph train", **vars(found))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("trained")
    return trained_on(table_of(root), root / "model", LabSettings(sweep=SWEEP, learning_curve=True))


@pytest.fixture(scope="module")
def page(trained: Trained) -> Page:
    return training_page(trained)


def test_the_page_says_how_good_the_model_is(trained: Trained, page: Page) -> None:
    accuracy = trained.metrics["test"]["accuracy"]
    assert page.verdict.startswith(f"{accuracy:.1%} of 40 predictions are right (95% interval")
    assert page.cards[0].value == f"{accuracy:.1%}", "the page measures what metrics.json says"
    sections = {section.id: section for section in page.sections if section}
    shown = ["confusion", "calibration", "classes", "worst", "unsure", "checks", "learning-curve", "sweep", "map"]
    assert [name for name in sections if name in shown] == shown
    assert [row[0] for row in sections["learning-curve"].data["points"]] == ["10%", "25%", "50%", "100%"]
    assert len(sections["sweep"].data["rows"]) == 2
    assert sections["sweep"].charts["trials"]["layout"]["xaxis"]["dtick"] == 1, "there is no rank 1.5"
    assert [name for name, _ in sections["checks"].data["pages"]] == ["label_errors.html"]
    assert [name for _, name in sections["map"].data["options"]] == ["label", "split", "error", "prediction"]


def test_several_labels_are_measured_by_the_thresholds_of_the_model() -> None:
    generator = np.random.default_rng(7)
    vectors, targets = generator.normal(size=(200, 3)).astype(np.float32), generator.random((200, 3)) < 0.5
    head = Head(
        labels=("a", "b", "c"),
        mean=np.zeros(3, np.float32),
        std=np.ones(3, np.float32),
        layers=((np.eye(3, dtype=np.float32), np.zeros(3, np.float32)),),
        activation="sigmoid",
        decision=Decision(thresholds=(0.2, None, 0.9)),
    )
    labels = [["abc"[place] for place in np.flatnonzero(row)] or ["none"] for row in targets]
    targets = np.concatenate([targets, ~targets.any(axis=1, keepdims=True)], axis=1)
    evaluation = Evaluation(MeasureOptions(multi_label=True))
    rows = dataclasses.replace(features(vectors, labels), splits=["test"] * 200, attributes=[{}] * 200)
    evaluation.add(predictions(head, rows, "1"))
    wanted = measure(head, Examples(vectors=vectors, targets=targets), ("none",))
    assert wanted
    assert evaluation.compute()["overall"]["accuracy"] == pytest.approx(wanted["accuracy"])


def test_the_page_is_the_same_every_time(trained: Trained, page: Page) -> None:
    assert render(training_page(trained)) == render(page)


def test_images_held_out_of_training_are_not_shown(tmp_path: Path) -> None:
    page = training_page(trained_on(table_of(tmp_path, ("train",)), tmp_path / "model"))
    sections = {section.id: section for section in page.sections if section}
    assert "worst" not in sections
    assert "held out of the training split" in sections["warnings"].data["sentences"][-1]


def test_a_report_that_cannot_be_made_is_a_note(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreError("the table has gone")

    monkeypatch.setattr("pipelines.report.trained_rows.sample_rows", fail)
    assert report_files(trained) == {}
    assert "note: the report could not be made: the table has gone" in capsys.readouterr().err


def test_nothing_hostile_runs_and_all_can_use_it(browser: Browser, trained: Trained, tmp_path: Path) -> None:
    for name, data in {**trained.files, **report_files(trained)}.items():
        (tmp_path / name).write_bytes(data)
    report = tmp_path / "report.html"
    with opened(browser, report, "dark", 390) as shown:
        assert shown.get_by_text(HOSTILE).first.is_visible()
        assert not is_too_wide(shown)
    with opened(browser, report) as shown:
        shown.get_by_role("link", name="Labels that are probably wrong").click()
        assert shown.get_by_role("heading", name="Labels that are probably wrong").is_visible()
    assert serious_findings(browser, report) == []
    assert serious_findings(browser, tmp_path / "label_errors.html") == []


def test_heat_maps_are_drawn_of_images_that_can_be_read(model: Path) -> None:
    page = (model / "1" / "report.html").read_text()
    section = page[page.index('<section id="heat"') : page.index('<section id="checks"')]
    assert section.count("The same with red") == section.count('<img src="data:image/jpeg;base64,') > 0

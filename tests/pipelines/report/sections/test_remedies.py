from __future__ import annotations

from typing import Any

from pipelines.report.page import Page, render
from pipelines.report.sections.remedies import remedies


def figure(value: float) -> dict[str, Any]:
    return {"value": value, "interval": [value - 0.1, value + 0.1]}


def stage(name: str, gap: float) -> dict[str, Any]:
    slices = [{"value": "left", "false_positive_rate": figure(gap)}]
    gaps = {"false_positive_rate_gap": figure(gap), "false_negative_rate_gap": figure(0.2)}
    return {"name": name, "accuracy": figure(0.9), **gaps, "slices": slices}


def test_before_and_after_stand_beside_each_other() -> None:
    entry = {"label": "<b>", "attribute": "side", "rows": 40, "split": "test"}
    entry |= {"slices": [{"value": "left", "negatives": 20}], "stages": [stage("before", 0.4), stage("after", 0.1)]}
    entry["change"] = {**stage("", -0.3), "accuracy": figure(-0.01)}
    found = {"rebalance": None, "mindiff": None, "slice_thresholds": None, "before_and_after": [entry]}
    section = remedies(found)
    assert section is not None
    (table,) = section.data["tables"]
    assert [row[0] for row in table["rows"]] == ["before", "after", "change"]
    assert table["rows"][2][2] == "-0.300 (-0.400 to -0.200)"
    assert "&lt;b&gt;" in render(Page(run_id="r", title="", kicker="", verdict="", sections=[section]))
    assert remedies(None) is None

from __future__ import annotations

from typing import Any

from pipelines.report.markdown import summary
from tests.transforms.measures.example import batch, row
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions


def _metrics(name: str = "cat", multi_label: bool = False) -> dict[str, Any]:
    rows = []
    for index in range(120):
        night, alarm, actual = index % 2 == 0, index % 4 == 0, index % 3 == 0
        score = 0.9 if actual or (night and alarm) else 0.1
        label = name if actual else "dog"
        attributes = [("light", "night" if night else "day")]
        rows.append(row([name, "dog"], [score, 1 - score], [label], attributes=attributes))
    evaluation = Evaluation(MeasureOptions(draws=50, positive_labels=(name,), multi_label=multi_label))
    evaluation.add(batch(*rows))
    return evaluation.compute()


def test_summary_tells_verdict_slices_and_gaps() -> None:
    text = summary(_metrics(), "heliograph evaluate --predictions p --output r")
    assert text.startswith("## 83.3% of 120 predictions are right")
    assert "| light = night | 60 | 66.7% | 54.1% to 77.3% | 0.667 |" in text
    gap = next(line for line in text.splitlines() if "| cat | 40 / 20 |" in line)
    assert gap.startswith("| light = night | cat | 40 / 20 | 50.0% | +50.0% (")
    assert text.rstrip().endswith("```\nheliograph evaluate --predictions p --output r\n```")


def test_labels_cannot_become_markup() -> None:
    text = summary(_metrics("<script>|`x`[a](b)\n# hi"), "heliograph evaluate")
    assert "<script>" not in text
    assert "\n# hi" not in text
    assert "\\|\\`x\\`\\[a\\]" in text


def test_sets_of_labels_have_a_verdict_of_their_own() -> None:
    assert summary(_metrics(multi_label=True), "c").startswith(
        "## 83.3% of 120 rows have exactly the right labels (95% interval"
    )

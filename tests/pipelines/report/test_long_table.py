from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from pipelines.report.long_table import long_table
from tests.transforms.measures.example import batch, random_rows
from transforms.measures.evaluation import Evaluation
from transforms.measures.slices import MeasureOptions


def test_every_figure_stands_in_the_table() -> None:
    evaluation = Evaluation(MeasureOptions(draws=10))
    evaluation.add(batch(*random_rows(120)[0]))
    metrics = evaluation.compute()
    table = long_table(metrics)

    def find(**wanted: Any) -> dict[str, Any]:
        keys = {"attribute": None, "value": None, "class": None, "threshold": None} | wanted
        chosen = table
        for name, value in keys.items():
            column = chosen.column(name)
            chosen = chosen.filter(pc.is_null(column) if value is None else pc.equal(column, value))
        assert chosen.num_rows == 1, wanted
        row: dict[str, Any] = chosen.to_pylist()[0]
        return row

    overall, left = metrics["overall"], metrics["slices"]["side"][0]
    found = find(figure="accuracy")
    assert (found["number"], found["lower"], found["upper"]) == (overall["accuracy"], *overall["accuracy_interval"])
    assert find(figure="macro_f1")["number"] == overall["macro"]["f1"]
    cat = next(entry for entry in left["classes"] if entry["name"] == "cat")
    assert find(figure="recall", attribute="side", value="left", **{"class": "cat"})["number"] == cat["recall"]
    fair = next(entry for entry in left["fairness"] if entry["name"] == "cat")
    area = find(figure="bpsn_auc", attribute="side", value="left", **{"class": "cat"})
    assert (area["number"], area["error"]) == (fair["bpsn_auc"]["value"], 0.0)
    cell = {"attribute": "side", "value": "left", "class": "cat", "threshold": 0.3}
    rate = fair["thresholds"][1]["false_positive_rate"]
    assert find(figure="false_positive_rate", **cell)["number"] == rate["value"]
    assert find(figure="false_positive_rate_gap", **cell)["upper"] == rate["gap_interval"][1]

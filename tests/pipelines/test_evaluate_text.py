"""A text classifier's scores, with the figures that the Perspective API's practice defines."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from pipelines.evaluate import main

SCRIPT = Path(__file__).parents[2] / "docs/fairness_comments.py"
FLAGS = ("--label-column", "toxic", "--score-column", "toxicity", "--id-column", "id")


def _comments() -> list[dict[str, Any]]:
    specification = importlib.util.spec_from_file_location("fairness_comments", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    rows: list[dict[str, Any]] = module.comments(1200)
    return rows


@pytest.fixture(scope="module")
def comments(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    rows, path = _comments(), tmp_path_factory.mktemp("text") / "comments.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows, path


def _evaluate(predictions: Path, *flags: str) -> dict[str, Any]:
    output = predictions.parent / f"report-{predictions.suffix[1:]}"
    arguments = ["--predictions", str(predictions), "--output", str(output), "--bootstrap", "50", *flags]
    assert main(arguments) == 0
    metrics: dict[str, Any] = json.loads((output / "metrics.json").read_text())
    return metrics


def _slice(metrics: dict[str, Any], term: str) -> dict[str, Any]:
    found = next(entry for entry in metrics["slices"][term] if entry["value"] == "1")
    compared: dict[str, Any] = found["fairness"][0]
    return compared


def test_figures_are_those_of_the_definitions(comments: tuple[list[dict[str, Any]], Path]) -> None:
    rows, path = comments
    metrics = _evaluate(path, *FLAGS, "--slice", "gay", "--slice", "tall", "--slice", "american")
    label = np.array([row["toxic"] for row in rows]) == 1
    score = np.array([row["toxicity"] for row in rows])
    assert metrics["classes"][1]["name"] == "toxicity"
    assert metrics["classes"][1]["roc_auc"] == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert metrics["overall"]["log_loss"] == pytest.approx(log_loss(label, score), abs=1e-6)
    assert metrics["overall"]["accuracy"] == pytest.approx(((score > 0.5) == label).mean(), abs=1e-12)
    for term in ("gay", "tall", "american"):
        inside = np.array([row[term] for row in rows]) == 1
        found = _slice(metrics, term)
        assert found["name"] == "toxicity"
        assert (found["positives"], found["negatives"]) == ((inside & label).sum(), (inside & ~label).sum())
        for figure, chosen in (
            ("subgroup_auc", inside),
            ("bpsn_auc", (inside & ~label) | (~inside & label)),
            ("bnsp_auc", (inside & label) | (~inside & ~label)),
        ):
            assert found[figure]["value"] == pytest.approx(roc_auc_score(label[chosen], score[chosen]), abs=1e-12)
        for figure, side in (("negative_aeg", ~label), ("positive_aeg", label)):
            pairs = score[side & ~inside][:, None] - score[side & inside][None]
            above = ((pairs > 0) + (pairs == 0) / 2).mean()
            assert found[figure]["value"] == pytest.approx(0.5 - above, abs=1e-12)
        cell = found["thresholds"][2]
        assert cell["false_positive_rate"]["value"] == pytest.approx((score[inside & ~label] > 0.5).mean(), abs=1e-12)
    biased, fair = _slice(metrics, "gay"), _slice(metrics, "tall")
    assert biased["bpsn_auc"]["interval"][1] < fair["bpsn_auc"]["interval"][0]
    assert biased["thresholds"][2]["false_positive_rate"]["gap_interval"][0] > 0.1


def test_parquet_and_jsonl_give_what_csv_gives(comments: tuple[list[dict[str, Any]], Path]) -> None:
    rows, path = comments
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"), row_group_size=250)
    path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, rows)))
    flags = (*FLAGS, "--slice", "gay", "--weight-column", "raters")
    expected, *others = (_evaluate(path.with_suffix(suffix), *flags) for suffix in (".csv", ".parquet", ".jsonl"))
    weights = np.array([row["raters"] for row in rows])
    right = np.array([(row["toxicity"] > 0.5) == (row["toxic"] == 1) for row in rows])
    assert expected["overall"]["accuracy"] == pytest.approx(np.average(right, weights=weights), abs=1e-12)
    assert expected["overall"]["weight"] == weights.sum()
    for found in others:
        assert found["confusion_matrix"] == expected["confusion_matrix"]
        assert _slice(found, "gay")["bpsn_auc"]["value"] == _slice(expected, "gay")["bpsn_auc"]["value"]


def test_a_column_a_class(tmp_path: Path) -> None:
    lines = ["kind,cat,p_dog,place", "cat,0.7,0.3,home", "dog,0.2,0.8,home", "dog,0.6,0.4,park", "emu,0.5,0.5,"]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    flags = ("--label-column", "kind", "--score-column", "cat", "--score-column", "dog=p_dog")
    metrics = _evaluate(tmp_path / "p.csv", *flags)
    assert [entry["name"] for entry in metrics["classes"]] == ["cat", "dog", "emu"]
    assert metrics["overall"]["accuracy"] == 0.5
    assert {entry["value"]: entry["rows"] for entry in metrics["slices"]["place"]} == {"home": 2, "park": 1}


def test_a_label_and_a_weight_among_our_attributes(tmp_path: Path) -> None:
    attributes = [json.dumps({"second opinion": label, "votes": votes}) for label, votes in (("b", 3), ("a", 1))]
    cells = [text.replace('"', '""') for text in attributes]
    lines = ["displayNames,confidences,labels,attributes"]
    lines += [f'"[""a"",""b""]","[0.75,0.25]",a,"{cell}"' for cell in cells]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    assert _evaluate(tmp_path / "p.csv")["overall"]["accuracy"] == 1.0
    metrics = _evaluate(tmp_path / "p.csv", "--label-column", "second opinion", "--weight-column", "votes")
    assert metrics["overall"]["accuracy"] == 0.25


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--score-column", "toxicity"], "--score-column needs --label-column"),
        (["--label-column", "toxic", "--score-column", "toxicty"], "there is no column 'toxicty'; there are american,"),
        (["--label-column", "comment", "--score-column", "toxicity"], "is neither a number nor true or false: name"),
        ([*FLAGS, "--weight-column", "comment"], "--weight-column comment holds no number"),
        ([*FLAGS, "--positive-label", "1", "--positive-label", "2"], "one --score-column is the score of one"),
        ([*FLAGS, "--slice", "gya"], "--slice gya is no attribute"),
        ([*FLAGS, "--threshold", "1.5"], "--threshold must be at least 0 and below 1, got 1.5"),
    ],
)
def test_a_mistake_gets_one_line(
    comments: tuple[list[dict[str, Any]], Path], flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--predictions", str(comments[1]), "--output", str(comments[1].parent / "never"), *flags]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_two_scores_of_one_file_are_compared(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,toxic,old,new\na,0,0.1,0.9\nb,0,0.9,0.1\nc,1,0.1,0.2\nd,1,0.9,0.8\n")
    flags = ("--label-column", "toxic", "--score-column", "old", "--id-column", "id")
    compare = ("--compare", str(tmp_path / "p.csv"), "--compare-score-column", "new")
    comparison = _evaluate(tmp_path / "p.csv", *flags, *compare)["comparison"]
    flips = next(entry for entry in comparison["classes"] if entry["name"] == "old")
    assert (flips["negative_to_positive"], flips["positive_to_negative"]) == (0.25, 0.25)
    assert comparison["overall"]["only_second_right"] == 1

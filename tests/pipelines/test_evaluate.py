from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.evaluate import main
from tests.pipelines.report import schema
from tests.transforms.measures.example import batch, random_rows, row

REPEATED = "--direct_runner_bundle_repeat=1"


def _predictions(directory: Path, rows: list[dict[str, Any]], files: int = 2) -> str:
    directory.mkdir(exist_ok=True)
    for index in range(files):
        table = pa.Table.from_batches([batch(*rows[index::files])])
        pq.write_table(table, directory / f"predictions_{index}.parquet", row_group_size=40)
    return str(directory)


def _run(tmp_path: Path, *flags: str) -> dict[str, Any]:
    assert main([*flags, "--output", str(tmp_path / "report")]) == 0
    metrics: dict[str, Any] = json.loads((tmp_path / "report/metrics.json").read_text())
    return metrics


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("example") / "predictions"
    rows, _, _ = random_rows(300, 4)
    path = _predictions(directory, rows)
    letters = [("CORRUPT", "/a.jpg", "cut off"), ("EMPTY", "/b.jpg", "no bytes"), ("CORRUPT", "/c.jpg", "cut off")]
    columns = dict(
        zip(("error_class", "image_uri", "error_message"), map(list, zip(*letters, strict=True)), strict=True)
    )
    pq.write_table(pa.table(columns), directory / "errors_0.parquet")
    record = {"seconds": 2.0, "scored": 300, "images_per_second": 150.0}
    (directory / "run.json").write_text(json.dumps(record))
    return path


def test_evaluate_writes_metrics_page_and_record(
    tmp_path: Path, example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = _run(tmp_path, "--predictions", example)
    text = resources.files("pipelines.report").joinpath("metrics.schema.json").read_text()
    definition = json.loads(text)
    schema.check(metrics, definition, definition)
    assert metrics["counts"]["measured"] == 300
    assert metrics["dead_letters"] == {"CORRUPT": 2, "EMPTY": 1}
    assert set(metrics["slices"]) == {"side", "rare"}
    record = json.loads((tmp_path / "report/run.json").read_text())
    assert record["command"] == "evaluate"
    assert record["rows"] == 300
    assert record["run_id"] == metrics["run_id"]
    assert record["configuration"]["predictions"] == example
    page = (tmp_path / "report/report.html").read_text()
    assert f'data-run="{record["run_id"]}"' in page
    assert f"heliograph evaluate --predictions {example} --output {tmp_path}/report" in page
    assert "/b.jpg" in page
    assert "no bytes" in page
    assert "How fast it was" in page
    output = capsys.readouterr().out
    assert f"{metrics['overall']['accuracy']:.1%} of 300 predictions are right" in output
    assert f"report: {tmp_path}/report/report.html" in output
    written = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert written == ["metrics.json", "metrics.parquet", "report.html", "run.json", "summary.md"]


def test_a_second_run_and_repeated_bundles_give_the_same(tmp_path: Path, example: str) -> None:
    first = _run(tmp_path, "--predictions", example, "--run-id", "r")
    again = _run(tmp_path, "--predictions", example, "--run-id", "r")
    repeated = _run(tmp_path, "--predictions", example, "--run-id", "r", REPEATED)
    rounded = [
        json.loads(json.dumps(metrics), parse_float=lambda text: round(float(text), 12))
        for metrics in (first, again, repeated)
    ]
    assert rounded[0] == rounded[1] == rounded[2]


def test_json_prints_the_record(tmp_path: Path, example: str, capsys: pytest.CaptureFixture[str]) -> None:
    _run(tmp_path, "--predictions", example, "--json")
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "report/run.json").read_text())


def test_named_slices_may_have_many_values(tmp_path: Path, example: str) -> None:
    metrics = _run(tmp_path, "--predictions", example, "--slice", "serial", "--slice", "rare", "--minimum-slice", "9")
    assert {name: len(entries) for name, entries in metrics["slices"].items()} == {"serial": 37, "rare": 1}
    assert {entry["small"] for entry in metrics["slices"]["serial"]} == {True, False}


def test_one_class_only_is_measured_with_a_warning(tmp_path: Path) -> None:
    path = _predictions(tmp_path / "p", [row(["a", "b"], [0.75, 0.25], ["a"])] * 40)
    metrics = _run(tmp_path, "--predictions", path)
    assert metrics["overall"]["accuracy"] == 1.0
    assert metrics["classes"][0]["roc_auc"] is None
    assert "All rows have the label" in (tmp_path / "report/report.html").read_text()


def test_jsonl_and_csv_give_what_parquet_gives(tmp_path: Path) -> None:
    rows, _, _ = random_rows(60, 8)
    wanted = ("image_uri", "ids", "displayNames", "confidences", "labels")
    lines = [json.dumps({name: entry[name] for name in wanted}) for entry in rows]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    cells = [[json.dumps(entry[name]).replace('"', '""') for name in wanted[2:]] for entry in rows]
    table = ["displayNames,confidences,labels", *('"' + '","'.join(line) + '"' for line in cells)]
    (tmp_path / "p.csv").write_text("\n".join(table))
    expected = _run(tmp_path, "--predictions", _predictions(tmp_path / "p", rows))
    for name in ("p.jsonl", "p.csv"):
        found = _run(tmp_path, "--predictions", str(tmp_path / name))
        assert found["confusion_matrix"]["rows"] == expected["confusion_matrix"]["rows"]
        assert found["overall"]["log_loss"] == pytest.approx(expected["overall"]["log_loss"], abs=1e-12)


def _unlabelled(tmp_path: Path) -> list[str]:
    return [_predictions(tmp_path / "p", [row(["a", "b"], [0.75, 0.25], [])] * 3)]


def _empty_directory(tmp_path: Path) -> list[str]:
    (tmp_path / "p").mkdir()
    return [str(tmp_path / "p")]


def _no_rows(tmp_path: Path) -> list[str]:
    return [_predictions(tmp_path / "p", [])]


def _typing_error(tmp_path: Path) -> list[str]:
    return [_predictions(tmp_path / "p", random_rows(9)[0]), "--slice", "sied"]


def _own_directory(tmp_path: Path) -> list[str]:
    path = _predictions(tmp_path / "report", random_rows(9)[0])
    (tmp_path / "report/run.json").write_text(json.dumps({"files": ["predictions_0.parquet"]}))
    return [path]


def _truncated(tmp_path: Path) -> list[str]:
    path = _predictions(tmp_path / "p", random_rows(9)[0])
    file = tmp_path / "p/predictions_1.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    return [path]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda tmp_path: [str(tmp_path / "nowhere")], "nowhere does not exist"),
        (_empty_directory, "holds no predictions_*.parquet"),
        (_unlabelled, "has a label to compare with: score images that are listed with labels"),
        (_no_rows, "has no rows"),
        (_typing_error, "--slice sied is no attribute of the first 9 predictions; there are: rare, serial, side"),
        (_own_directory, "has the run.json of another command; name another directory"),
        (_truncated, "predictions_1.parquet cannot be read as Parquet"),
        (lambda tmp_path: [str(tmp_path), "--thumbnails", "-1"], "--thumbnails must not be negative, got -1"),
        (lambda tmp_path: [str(tmp_path), "--minimum-slice", "0"], "must be positive, got 0"),
        (lambda tmp_path: [str(tmp_path), "--slise", "x"], "--slise is neither a flag of ours nor of Beam's"),
    ],
)
def test_a_mistake_gets_one_line(tmp_path: Path, make: Any, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = make(tmp_path)
    assert main(["--predictions", *flags, "--output", str(tmp_path / "report")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report/metrics.json").exists()


def test_two_models_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = random_rows(200, 4)[0], random_rows(200, 5)[0]
    paths = [_predictions(tmp_path / name, rows) for name, rows in (("one", first[:190]), ("two", second[5:]))]
    metrics = _run(tmp_path, "--predictions", paths[0], "--compare", paths[1])
    definition = json.loads(resources.files("pipelines.report").joinpath("metrics.schema.json").read_text())
    schema.check(metrics, definition, definition)
    comparison = metrics["comparison"]
    assert [comparison[name] for name in ("rows", "only_first", "only_second")] == [185, 5, 10]
    assert comparison["overall"]["p_value"] < 0.001
    assert f"Compared with {paths[1]} on 185 rows" in capsys.readouterr().out
    same = _run(tmp_path, "--predictions", paths[0], "--compare", paths[0], REPEATED)["comparison"]["overall"]
    assert (same["rows"], same["changed"], same["p_value"]) == (190, 0.0, 1.0)
    assert f"The predictions for the 190 rows that {paths[0]} has too are the same" in capsys.readouterr().out

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.transforms.measures.example import batch, random_rows, row
from transforms.errors import InputError
from transforms.measures.evaluation import Evaluation
from transforms.measures.files import (
    PredictionPart,
    count_errors,
    error_examples,
    list_parts,
    list_prediction_files,
    read_part,
)
from transforms.measures.slices import MeasureOptions

SOUND = [row(["a", "b"], [0.75, 0.25], [label], attributes=[("side", "left")]) for label in "ab"]


def _write(path: Path, *rows: dict[str, Any]) -> None:
    pq.write_table(pa.Table.from_batches([batch(*rows)]), path)


def _measure(path: Path) -> dict[str, Any]:
    evaluation = Evaluation(MeasureOptions())
    for part in list_parts(str(path)):
        for rows in read_part(part):
            evaluation.add(rows)
    return evaluation.compute()


def test_a_directory_without_a_record_has_all_predictions(tmp_path: Path) -> None:
    for name in ("predictions_b.parquet", "predictions_a.parquet", "errors_a.parquet", "other.parquet"):
        _write(tmp_path / name, *SOUND)
    (tmp_path / "predictions_a.jsonl").write_text("{}")
    expected = [f"{tmp_path}/predictions_{name}.parquet" for name in "ab"]
    assert list_prediction_files(str(tmp_path)) == expected


def test_a_run_record_says_which_files_count(tmp_path: Path) -> None:
    for name in ("predictions_a.parquet", "predictions_orphan.parquet"):
        _write(tmp_path / name, *SOUND)
    names = ["predictions_a.parquet", "predictions_a.jsonl", "errors_a.parquet", "predictions_/../../x.parquet"]
    (tmp_path / "run.json").write_text(json.dumps({"files": names}))
    assert list_prediction_files(str(tmp_path)) == [f"{tmp_path}/predictions_a.parquet"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "holds no predictions_"),
        (lambda path: path.write_text("x"), "is none of .csv, .jsonl, .parquet"),
    ],
)
def test_what_is_no_prediction_is_refused(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "x")
    with pytest.raises(InputError, match=message):
        list_prediction_files(str(tmp_path / "x"))


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("not parquet at all")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        list_parts(str(tmp_path / "x.parquet"))


def test_a_table_without_predictions_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": ["x"]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="has no column displayNames and no confidences; it has uri"):
        list_parts(str(tmp_path / "x.parquet"))
    (tmp_path / "x.csv").write_text("uri,label\nx,y\n")
    with pytest.raises(InputError, match="has no column displayNames and no confidences; it has uri, labels"):
        list(read_part(PredictionPart(str(tmp_path / "x.csv"), -1)))


def test_parquet_is_read_by_row_group_and_other_list_types_are_understood(tmp_path: Path) -> None:
    rows, _, _ = random_rows(50)
    table = pa.Table.from_batches([batch(*rows)])
    wide = table.set_column(3, "displayNames", table["displayNames"].cast(pa.large_list(pa.large_string())))
    wide = wide.set_column(4, "confidences", wide["confidences"].cast(pa.list_(pa.float64())))
    pq.write_table(wide, tmp_path / "x.parquet", row_group_size=20)
    pq.write_table(table, tmp_path / "y.parquet")
    assert [part.row_group for part in list_parts(str(tmp_path / "x.parquet"))] == [0, 1, 2]
    found, expected = _measure(tmp_path / "x.parquet"), _measure(tmp_path / "y.parquet")
    assert found["confusion_matrix"] == expected["confusion_matrix"]
    assert found["slices"].keys() == expected["slices"].keys()
    assert found["overall"]["log_loss"] == pytest.approx(expected["overall"]["log_loss"], abs=1e-12)


def test_a_column_of_another_type_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"displayNames": ["a"], "confidences": [0.5], "labels": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="column displayNames of the predictions is string, needed is list"):
        _measure(tmp_path / "x.parquet")


def test_a_label_column_stands_in_for_labels(tmp_path: Path) -> None:
    table = pa.Table.from_batches([batch(*SOUND)]).drop_columns(["labels"])
    pq.write_table(table.append_column("label", pa.array(["a", None])), tmp_path / "x.parquet")
    measured = _measure(tmp_path / "x.parquet")
    assert (measured["counts"]["measured"], measured["counts"]["unlabelled"]) == (1, 1)


def test_jsonl_in_both_shapes_and_broken_lines(tmp_path: Path) -> None:
    prediction = {"ids": ["0", "1"], "displayNames": ["a", "b"], "confidences": [0.75, 0.25]}
    lines = [
        json.dumps(
            {"instance": {"content": "/x.jpg", "mimeType": "image/jpeg"}, "prediction": prediction, "labels": ["a"]}
        ),
        json.dumps({"image_uri": "/y.jpg", **prediction, "label": "b", "attributes": {"size": 3}}),
        "{broken",
        "[1]",
        "",
        json.dumps({**prediction, "confidences": [0.75, None], "labels": ["a"]}),
        json.dumps({**prediction, "confidences": [0.75, 10**400], "labels": ["a"]}),
        "[" * 100_000,
    ]
    (tmp_path / "x.jsonl").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    measured = _measure(tmp_path / "x.jsonl")
    counts = {name: number for name, number in measured["counts"].items() if number}
    assert counts == {"rows": 7, "measured": 2, "bad_rows": 3, "nan_scores": 2}
    assert measured["overall"]["accuracy"] == 0.5
    assert measured["worst_errors"][0]["image_uri"] == "/y.jpg"
    assert measured["slices"]["size"][0]["value"] == "3"


def test_csv_as_score_writes_it(tmp_path: Path) -> None:
    text = (
        "image_id,image_uri,sha256,prediction,confidence,labels,model_version\n"
        "1,/x.jpg,00,'=a,0.75,'=a,m/1\n"
        '2,/y.jpg,00,"b, c",0.5,d|e,m/1\n'
        "3,/z.jpg,00,d,0.25,d,m/1\n"
        "4,/z.jpg,00,d,much,d,m/1\n"
        "5,/z.jpg\n"
    )
    (tmp_path / "x.csv").write_text(text)
    measured = _measure(tmp_path / "x.csv")
    counts = {name: number for name, number in measured["counts"].items() if number}
    assert counts == {
        "rows": 5,
        "measured": 2,
        "several_labels": 1,
        "nan_scores": 1,
        "bad_rows": 1,
        "incomplete_scores": 2,
    }
    assert [entry["name"] for entry in measured["classes"]] == ["=a", "d"]
    assert measured["overall"]["accuracy"] == 1.0


def test_csv_with_lists_as_json(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        'displayNames,confidences,label,attributes\n"[""a"",""b""]","[0.75,0.25]",b,"{""side"":""left""}"\n'
    )
    measured = _measure(tmp_path / "x.csv")
    assert measured["overall"]["log_loss"] is not None
    assert measured["confusion_matrix"]["rows"] == [[0, 0], [1, 0]]
    assert measured["slices"]["side"][0]["rows"] == 1


def test_dead_letters_are_counted_by_class(tmp_path: Path) -> None:
    assert count_errors(str(tmp_path)) == {}
    table = pa.table({"error_class": ["CORRUPT", "EMPTY", "CORRUPT"], "image_uri": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "errors_a.parquet")
    pq.write_table(table, tmp_path / "errors_b.parquet")
    assert list(count_errors(str(tmp_path)).items()) == [("CORRUPT", 4), ("EMPTY", 2)]
    (tmp_path / "run.json").write_text(json.dumps({"files": ["errors_b.parquet"]}))
    assert count_errors(str(tmp_path)) == {"CORRUPT": 2, "EMPTY": 1}


def test_the_first_dead_letters_of_each_class_are_told_with_their_reasons(tmp_path: Path) -> None:
    assert error_examples(str(tmp_path), 2) == []
    names = ("error_class", "image_uri", "error_message")
    letters = [("EMPTY", "a", "no bytes"), *(("CORRUPT", f"{index}", None) for index in range(3))]
    for part in (letters[:3], letters[3:]):
        table = pa.Table.from_pylist([dict(zip(names, letter, strict=True)) for letter in part])
        pq.write_table(table, tmp_path / f"errors_{len(part)}.parquet")
    pq.write_table(pa.table({"error_class": ["OLD"]}), tmp_path / "errors_old.parquet")
    found = [tuple(entry[name] for name in names) for entry in error_examples(str(tmp_path), 2)]
    assert found == [("CORRUPT", "2", ""), ("CORRUPT", "0", ""), ("EMPTY", "a", "no bytes")]

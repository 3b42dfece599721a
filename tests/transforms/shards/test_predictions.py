"""Predictions in columns: each value, each line of JSON and of CSV, from pixels and from stored features."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from transforms.errors import StoreError
from transforms.model.decision import FIRST, Decision, SliceThresholds
from transforms.model.head import Head
from transforms.shards.outcome import EncodedImage
from transforms.shards.predictions import ImageBatch, count_classes, csv_text, predict, vertex_lines
from transforms.sources.reference import ImageReference
from transforms.store.schema import feature_schema, prediction_schema, subset
from transforms.store.write import columns_to_batch

LABELS = ("café", 'a "b"', "=c")
REFERENCES = (
    ImageReference(uri="/p/ü.jpg", labels=("café", "x"), split="test", attributes=(("site", "a"), ("site", "b"))),
    ImageReference(uri='/p/"2\n".tar#m.webp', group="g"),
    ImageReference(uri="/p/three", labels=("=c",), split="train", attributes=(("site", "a"),)),
)
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [3e-5, 0.5, 0.49997], [0.45, 0.1, 0.45]], np.float32)


def head(activation: str = "softmax", decision: Decision = FIRST) -> Head:
    """A head that makes PROBABILITIES of their logarithms, or of their log-odds."""
    layer = (np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    return Head(
        labels=LABELS,
        mean=np.zeros(3, np.float32),
        std=np.ones(3, np.float32),
        layers=(layer,),
        activation=activation,
        decision=decision,
    )


def logits(activation: str = "softmax") -> np.ndarray:
    odds = PROBABILITIES / (1 - PROBABILITIES) if activation == "sigmoid" else PROBABILITIES
    return np.log(odds).astype(np.float32)


def encoded(vectors: np.ndarray) -> list[EncodedImage]:
    return [
        EncodedImage(
            reference=reference,
            sha256=f"{number:064x}",
            width=number + 1,
            height=7,
            format="JPEG",
            byte_size=2**40,
            brightness=0.25,
            vector=vector,
        )
        for number, (reference, vector) in enumerate(zip(REFERENCES, vectors, strict=True))
    ]


def stored(vectors: np.ndarray) -> pa.RecordBatch:
    """The same as rows of a feature table; what is empty is null, as another writer may have it."""
    columns = {
        "image_id": [reference.image_id for reference in REFERENCES],
        "image_uri": [reference.uri for reference in REFERENCES],
        "sha256": [f"{number:064x}" for number in range(3)],
        **{
            name: [getattr(reference, name) or None for reference in REFERENCES]
            for name in ("labels", "split", "group", "attributes")
        },
        "width": [1, 2, 3],
        "height": [7] * 3,
        "format": ["JPEG"] * 3,
        "byte_size": [2**40] * 3,
        "embedding": vectors,
    }
    return columns_to_batch(columns, subset(feature_schema(vectors.shape[1]), columns))


def rows_of(predictions: pa.RecordBatch) -> list[dict[str, Any]]:
    assert predictions.schema.equals(prediction_schema())
    rows: list[dict[str, Any]] = predictions.drop_columns(["scored_at"]).to_pylist()
    return rows


def test_a_row_says_all_that_is_known() -> None:
    batch = ImageBatch.of_images(encoded(logits()))
    rows = rows_of(predict(batch, head(), "m/1", top_k=2))
    assert [row["ids"] for row in rows] == [["0", "1"], ["1", "2"], ["0", "2"]], "among equals the first"
    assert rows[0]["confidences"] == pytest.approx([0.7, 0.2])
    assert {**rows[0], "confidences": []} == {
        "image_id": REFERENCES[0].image_id,
        "image_uri": "/p/ü.jpg",
        "sha256": "0" * 64,
        "ids": ["0", "1"],
        "displayNames": ["café", 'a "b"'],
        "confidences": [],
        "predicted": ["café"],
        "activation": "softmax",
        "model_version": "m/1",
        "labels": ["café", "x"],
        "split": "test",
        "group": "",
        "attributes": [("site", "a"), ("site", "b")],
        "width": 1,
        "height": 7,
        "format": "JPEG",
        "byte_size": 2**40,
        "brightness": 0.25,
    }


def test_stored_features_give_the_same_rows_as_pixels() -> None:
    pixels = rows_of(predict(ImageBatch.of_images(encoded(logits())), head(), "m", 100))
    batch = ImageBatch.of_features(stored(logits()), 3, "part.parquet")
    assert rows_of(predict(batch, head(), "m", 100)) == [{**row, "brightness": None} for row in pixels]
    part = ImageBatch.of_features(stored(logits()).slice(1), 3, "part.parquet")
    assert vertex_lines(predict(part, head(), "m", 100)) == vertex_lines(predict(batch, head(), "m", 100).slice(1))
    with pytest.raises(StoreError, match=r"part.parquet has vectors that are not of length 4"):
        ImageBatch.of_features(stored(logits()), 4, "part.parquet")


def test_views_are_averaged() -> None:
    views = np.stack([logits(), logits()[:, ::-1]], axis=1)
    rows = rows_of(predict(ImageBatch.of_images(encoded(views)), head(), "m", 1))
    assert [row["confidences"][0] for row in rows] == pytest.approx([0.4, 0.5, 0.45])


def test_lines_of_json_are_those_of_python() -> None:
    """Text is escaped, and each number written, as json.dumps has it; 3e-05 and 1.0 are not Arrow's way."""
    sure = np.array([[300, 0, 0]], np.float32)  # 1, 0 and 0
    batch = ImageBatch.of_images(encoded(logits()) + encoded(sure.repeat(3, axis=0))[:1])
    predictions = predict(batch, head(), "m", 100)
    expected = [
        {
            "instance": {"content": row["image_uri"], "mimeType": mime},
            "prediction": {name: row[name] for name in ("ids", "displayNames", "confidences")},
        }
        for row, mime in zip(
            rows_of(predictions),
            ("image/jpeg", "image/webp", "application/octet-stream", "image/jpeg"),
            strict=True,
        )
    ]
    assert vertex_lines(predictions).splitlines() == [json.dumps(line, ensure_ascii=False) for line in expected]
    assert "e-05" in vertex_lines(predictions)
    assert "[1.0, 0.0, 0.0]" in vertex_lines(predictions)


def test_every_magnitude_is_written_as_python_does() -> None:
    confidences = np.geomspace(1e-44, 1, 5000, dtype=np.float32)
    predictions = predict(ImageBatch.of_images(encoded(logits())[:1] * 5000), head(), "m", 1)
    place = predictions.schema.get_field_index("confidences")
    column = pa.ListArray.from_arrays(predictions.column(place).offsets, pa.array(confidences))
    predictions = predictions.set_column(place, "confidences", column)
    lines = map(json.dumps, confidences.tolist())
    assert [line.split('"confidences": ')[1] for line in vertex_lines(predictions).splitlines()] == [
        f"[{line}]}}}}" for line in lines
    ]


SITES = SliceThresholds(attribute="site", column=0, thresholds={"b": 0.9})


@pytest.mark.parametrize(
    ("activation", "decision", "predicted", "told", "cells"),
    [
        ("softmax", FIRST, [["café"], ['a "b"'], ["café"]], [None] * 3, ["café,0.7", '"a ""b""",0.5', "café,0.45"]),
        (
            "softmax",
            Decision(none_below=0.6),
            [["café"], [], []],
            [None, [], []],
            ["café,0.7", "none of these,0.5", "none of these,0.45"],
        ),
        (
            "softmax",
            Decision(thresholds=(0.3, None, 0.05), slices=SITES),
            [["=c"], ["=c"], ["=c"]],
            [["=c"]] * 3,
            ["'=c,0.1", "'=c,0.49997", "'=c,0.45"],
        ),
        (
            "sigmoid",
            Decision(thresholds=(0.4, 0.15, 0.45)),
            [["café", 'a "b"'], ['a "b"', "=c"], ["café", "=c"]],
            [None] * 3,
            ['"café|a ""b""",0.7|0.2', '"a ""b""|=c",0.5|0.49997', "café|=c,0.45|0.45"],
        ),
        ("sigmoid", Decision(none_below=0.6), [["café"], [], []], [None] * 3, ["café,0.7", ",", ","]),
    ],
)
def test_the_answer_is_the_model_s(
    activation: str, decision: Decision, predicted: list[list[str]], told: list[Any], cells: list[str]
) -> None:
    """Vertex' lines tell it where it is not the first label; the table of cells has none of these in words."""
    batch = ImageBatch.of_images(encoded(logits(activation)))
    predictions = predict(batch, head(activation, decision), "m/1", 100)
    rows = rows_of(predictions)
    assert [row["predicted"] for row in rows] == predicted
    lines = map(json.loads, vertex_lines(predictions).splitlines())
    assert [line["prediction"].get("predicted") for line in lines] == told
    assert csv_text(predictions.slice(0, 1)) == (
        f"{REFERENCES[0].image_id},/p/ü.jpg,{'0' * 64},{cells[0]},café|x,m/1\n"
    )
    assert csv_text(predictions.slice(2)) == csv_text(predictions).splitlines(keepends=True)[-1]
    assert all(f",{cell}," in csv_text(predictions) for cell in cells)
    counts = {name: sum(name in said for said in predicted) for name in LABELS} | {"": predicted.count([])}
    assert count_classes(predictions) == {name: count for name, count in counts.items() if count}


def test_thresholds_of_a_slice_go_by_the_last_of_an_attribute_s_values() -> None:
    decision = Decision(thresholds=(0.3, None, None), slices=SITES)
    rows = rows_of(predict(ImageBatch.of_features(stored(logits()), 3, ""), head(decision=decision), "m", 100))
    assert [row["predicted"] for row in rows] == [['a "b"'], ['a "b"'], ["café"]]


def test_what_is_not_shown_is_not_in_the_csv() -> None:
    """Of several labels an image; of one, the answer stands beside the highest confidence."""
    several = predict(
        ImageBatch.of_images(encoded(logits("sigmoid"))), head("sigmoid", Decision(thresholds=(0.05,) * 3)), "m", 1
    )
    assert several.column("predicted").to_pylist()[0] == ["café", 'a "b"', "=c"]
    assert ",café,0.7," in csv_text(several)
    one = predict(
        ImageBatch.of_images(encoded(logits())), head(decision=Decision(thresholds=(None, None, 0.05))), "m", 1
    )
    assert ",'=c,0.7," in csv_text(one)

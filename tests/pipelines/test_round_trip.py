"""The same 200 images in every dialect and container: embedded, scored and evaluated, they differ by the uri only."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import embed, evaluate, score, train
from tests.image_sets import FORMS, Form, Sample, samples, sha256
from transforms.sources.split import SplitRatios

IMAGES = samples(200, described=True)
OF_THE_URI = ["image_id", "image_uri", "event_timestamp", "created", "run_id", "source_fingerprint"]
OF_THE_MANIFEST = ["labels", "split", "group", "attributes"]
SMALL = ["--image-size", "32"]
"""A fiftieth of the network's work."""


def rows(place: Path, pattern: str) -> pa.Table:
    return pa.concat_tables([pq.read_table(path, partitioning=None) for path in sorted(place.glob(pattern))])


def told(form: Form, image: Sample) -> dict[str, Any]:
    """What a row must say of an image that came in a form."""
    group = image.group if "group" in form.tells else ""
    by_hash = SplitRatios.parse("80/10/10").assign(group or sha256(image.data))
    several, one = image.labels, image.labels[:1] if "label" in form.tells else []
    return {
        "labels": several if "labels" in form.tells else one,
        "split": image.split if "split" in form.tells else by_hash,
        "group": group,
        "attributes": [("camera", image.camera)] if "camera" in form.tells else [],
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every form's input; not to be changed."""
    roots = {name: tmp_path_factory.mktemp("form") for name in FORMS}
    return {name: form.write(roots[name], IMAGES) for name, form in FORMS.items()}


@pytest.fixture(scope="module")
def expected(written: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    """The store of the plain folder, and its rows in the order of their content."""
    store = tmp_path_factory.mktemp("expected") / "store"
    assert embed.main(["--input", str(written["folder"]), "--store", str(store), *SMALL]) == 0
    return store, rows(store, "*/data/*.parquet").sort_by("sha256")


@pytest.mark.parametrize("name", FORMS)
def test_rows_are_equal_but_for_the_uri(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    written: dict[str, Path],
    expected: tuple[Path, pa.Table],
    name: str,
) -> None:
    call = ["--input", str(written[name]), "--store", str(tmp_path), *SMALL, "--shard-size", "60", "--json"]
    assert embed.main(call) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["listed"], record["embedded"], record["failed"]) == (200, 200, 0)
    found = rows(tmp_path, "*/data/*.parquet").sort_by("sha256")
    assert len(set(found["image_uri"].to_pylist())) == 200
    apart = [*OF_THE_URI, *OF_THE_MANIFEST, "embedding"]
    assert found.drop_columns(apart).equals(expected[1].drop_columns(apart))
    vectors = [np.stack(table["embedding"].to_numpy(zero_copy_only=False)) for table in (found, expected[1])]
    np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-4)
    wanted = {sha256(image.data): told(FORMS[name], image) for image in IMAGES}
    for row in found.select(["sha256", *OF_THE_MANIFEST]).to_pylist():
        assert {key: row[key] for key in OF_THE_MANIFEST} == wanted[row["sha256"]]
    if name in ("webdataset gzip", "tar of folders", "tfrecord", "zip", "hf-parquet"):
        assert embed.main(call) == 0
        assert json.loads(capsys.readouterr().out)["reused"] == 200


def test_what_a_form_tells_reaches_predictions_and_slices(tmp_path: Path, expected: tuple[Path, pa.Table]) -> None:
    """All forms are scored in one run; a prediction's address says which form it came in."""
    some = IMAGES[:30]
    roots = {name: tmp_path / f"form{number}" for number, name in enumerate(FORMS)}
    for root in roots.values():
        root.mkdir()
    model, out, report = tmp_path / "model", tmp_path / "out", tmp_path / "report"
    assert train.main(["--store", str(expected[0]), "--model", str(model), "--train-epochs", "5"]) == 0
    inputs = [word for name in FORMS for word in ("--input", str(FORMS[name].write(roots[name], some)))]
    assert score.main([*inputs, "--model", str(model), "--output", str(out), "--format", "parquet"]) == 0
    predictions = rows(out, "predictions_*.parquet").to_pylist()
    seen: collections.Counter[str] = collections.Counter()
    images = {sha256(image.data): image for image in IMAGES}
    for row in predictions:
        name = next(name for name, root in roots.items() if root in Path(row["image_uri"]).parents)
        seen[name] += 1
        wanted = told(FORMS[name], images[row["sha256"]])
        if "split" not in FORMS[name].tells:
            wanted["split"] = ""  # scoring divides nothing
        assert {key: row[key] for key in OF_THE_MANIFEST} == wanted, name
    assert seen == dict.fromkeys(FORMS, len(some))

    assert evaluate.main(["--predictions", str(out), "--output", str(report), "--slice", "camera"]) == 0
    metrics = json.loads((report / "metrics.json").read_text())
    single = collections.Counter(
        image.camera
        for form in FORMS.values()
        for image in some
        if "camera" in form.tells and len(told(form, image)["labels"]) == 1
    )
    assert {entry["value"]: entry["rows"] for entry in metrics["slices"]["camera"]} == single

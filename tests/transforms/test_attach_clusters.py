from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.evaluate import main
from tests.transforms.measures.example import batch, row
from transforms.measures.clusters import assign_clusters, fit_clusters
from transforms.store.reader import open_features


@pytest.mark.parametrize("repeated", [(), ("--direct_runner_bundle_repeat=1",)])
def test_predictions_are_sliced_by_the_clusters_of_their_embeddings(
    tmp_path: Path, store: Path, repeated: tuple[str, ...]
) -> None:
    features = open_features(str(store)).numpy()
    ids = features.image_ids
    rows = [row(["a", "b"], [0.75, 0.25], ["ab"[index % 2]], image_id=key) for index, key in enumerate(ids)]
    unknown = [row(["a", "b"], [0.75, 0.25], ["a"], image_id="0" * 32)] * 3
    table = pa.Table.from_batches([batch(*rows, *unknown)])
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=25)
    flags = ["--predictions", str(tmp_path / "p.parquet"), "--output", str(tmp_path / "r"), "--bootstrap", "10"]
    assert main([*flags, "--store", str(store), "--clusters", "3", "--slice", "cluster", *repeated]) == 0
    slices = json.loads((tmp_path / "r/metrics.json").read_text())["slices"]["cluster"]
    assert [entry["value"] for entry in slices] == ["cluster 01", "cluster 02", "cluster 03"]
    assert sum(entry["rows"] for entry in slices) == len(ids)
    code = assign_clusters(features.embeddings, fit_clusters(features.embeddings, 3)).code
    assert sorted(entry["rows"] for entry in slices) == sorted((code == index).sum() for index in range(3))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--clusters", "3"], "--clusters and --store go together"),
        (["--clusters", "30", "--store", "x"], "--clusters must be at most 20, got 30"),
        (["--clusters", "3", "--store", "/nowhere"], "/nowhere"),
    ],
)
def test_a_mistake_gets_one_line(
    tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.Table.from_batches([batch(row(["a"], [1.0], ["a"]))]), tmp_path / "p.parquet")
    arguments = ["--predictions", str(tmp_path / "p.parquet"), "--output", str(tmp_path / "r"), *flags]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1

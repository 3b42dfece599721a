from __future__ import annotations

import csv
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines import store as command
from tests.transforms.store import builders
from transforms.shards.shard import ShardResult
from transforms.shards.workspace import Workspace
from transforms.store.export import FORMATS
from transforms.store.reader import open_features
from transforms.store.table import FeatureTable

HOUR = 3600.0


@pytest.fixture
def table(tmp_path: Path) -> FeatureTable:
    """Version 1 with 30 images in three parts, version 2 with one of them changed."""
    made = builders.make_table(tmp_path / "store")
    made.append("one", [builders.write_part(made, range(n, n + 10)) for n in (0, 10, 20)], metadata={"listed": "30"})
    made.append("two", [builders.write_part(made, [7], 1)], [builders.image_id(7)], base_version=1)
    return FeatureTable.open(made.path)


EXPECTED = builders.expected(range(30)) | builders.expected([7], 1)


def run(table: FeatureTable, action: str, *flags: str, status: int = 0) -> None:
    assert command.main([action, "--store", str(Path(table.path).parent), *flags]) == status


def record(capsys: pytest.CaptureFixture[str], table: FeatureTable, *call: str, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    run(table, *call, "--json", status=status)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def age(path: Path | str, hours: float) -> None:
    then = time.time() - hours * HOUR
    os.utime(path, (then, then))


def set_commit_times(table: FeatureTable, hours_ago: dict[int, float]) -> None:
    for version, hours in hours_ago.items():
        file = Path(table.path, "_delta_log", f"{version:020d}.json")
        actions = [json.loads(line) for line in file.read_text().splitlines()]
        for action in actions:
            if "commitInfo" in action:
                action["commitInfo"]["timestamp"] = int((time.time() - hours * HOUR) * 1000)
        file.write_text("\n".join(map(json.dumps, actions)))


def test_list_and_show(table: FeatureTable, capsys: pytest.CaptureFixture[str]) -> None:
    (listed,) = record(capsys, table, "list")["tables"]
    assert (listed["name"], listed["rows"], listed["files"]) == (Path(table.path).name, 30, 4)
    assert (listed["dimension"], listed["version"], listed["encoder"]) == (8, 2, "tiny")
    assert listed["bytes"] == sum(Path(table.path, file.path).stat().st_size for file in table.data_files())
    (shown,) = record(capsys, table, "show", "tiny")["tables"]
    assert [entry["operation"] for entry in shown["versions"]] == ["create", "embed", "embed"]
    assert [entry["rows"] for entry in shown["versions"]] == [0, 30, 30]
    assert shown["versions"][1]["counts"] == {"listed": 30}
    assert shown["versions"][2]["run_id"] == "two"
    run(table, "list")
    run(table, "show")
    text = capsys.readouterr().out.splitlines()
    assert text[0].split() == ["table", "images", "views", "dimension", "size", "version", "last", "change", "(UTC)"]
    assert text[-1].split()[-1] == "two"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["list"], "the following arguments are required: --store"),
        (["list", "STORE"], "did you mean --store "),
        (["forget", "--store", "x"], "invalid choice: 'forget'"),
        (["lst", "--store", "x"], "did you mean list?"),
        (["show", "--store", "STORE", "--jsn"], "heliograph store show takes; did you mean --json?"),
        (["show", "--store", "STORE", "resnet"], "has no table of 'resnet'"),
        (["list", "--store", "/nowhere"], "does not exist"),
        (["retract", "--store", "STORE"], "retract needs --image-id, --image-uri, --group or a --manifest"),
        (["vacuum", "--store", "STORE", "--retention-hours", "1"], "could take files from running jobs"),
        (["vacuum", "--store", "STORE", "--keep-version", "9"], "has no version 9"),
        (["vacuum", "--store", "STORE", "--models", "/nowhere"], "is no model directory"),
        (["export", "--store", "STORE", "--format", "csv", "--output", "STORE"], "holds something"),
        (["export", "--store", "STORE", "--format", "csv", "--output", "s3://x/y"], "must be a local directory"),
        (["export", "--store", "STORE", "--format", "csv", "--output", "x", "--attribute", "a"], "NAME=VALUE, got 'a'"),
        (["verify", "--store", "STORE", "--version", "soon"], "--version must be a number"),
    ],
)
def test_mistakes_end_in_one_line(
    table: FeatureTable, capsys: pytest.CaptureFixture[str], call: list[str], message: str
) -> None:
    store = str(Path(table.path).parent)
    assert command.main([store if word == "STORE" else word for word in call]) == 2
    text = capsys.readouterr()
    assert message in text.err
    assert text.err.count("\n") == 1
    assert text.out == ""


def test_verify_finds_a_sound_table_sound(table: FeatureTable, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = record(capsys, table, "verify", "--skip-golden")["tables"]
    assert (found["problems"], found["orphans"], found["rows"], found["golden"]) == ([], [], 30, False)
    orphan = builders.write_part(table, [99])
    (found,) = record(capsys, table, "verify", "--skip-golden")["tables"]
    assert found["orphans"] == [orphan.path]


def _cut(table: FeatureTable, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def _other_rows(table: FeatureTable, path: Path, **changes: Any) -> None:
    """Replaces a file, and what the log says of its size, by one with other rows."""
    numbers = changes.pop("numbers", range(10))
    other = builders.write_columns(table, {**builders.columns(numbers), **changes})
    size = path.stat().st_size
    Path(table.path, other.path).rename(path)
    log = Path(table.path, "_delta_log", f"{1:020d}.json")
    log.write_text(log.read_text().replace(f'"size":{size}', f'"size":{other.size}'))


def _infinite(table: FeatureTable, path: Path) -> None:
    data = bytearray(path.read_bytes())
    start = data.index(builders.vector(3).tobytes())
    data[start : start + 4] = np.float32("nan").tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda table, path: path.unlink(), "does not exist"),
        (_cut, "bytes, .* are in the log"),
        (lambda table, path: path.write_bytes(b"x" * path.stat().st_size), "cannot be read"),
        (lambda table, path: _other_rows(table, path, numbers=range(9)), "has 9 rows, 10 are in the log"),
        (lambda table, path: _other_rows(table, path, numbers=range(10, 20)), "10 images are there more than once"),
        (lambda table, path: _other_rows(table, path, image_id=[None] * 10), "10 rows have no image_id"),
        (_infinite, "1 vectors have NaN or infinity"),
    ],
)
def test_verify_names_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, problem: str
) -> None:
    table = builders.make_table(tmp_path)
    parts = [builders.write_part(table, range(n, n + 10)) for n in (0, 10)]
    table.append("one", parts)
    spoil(table, Path(table.path, parts[0].path))
    run(table, "verify", "--skip-golden", status=1)
    lines = capsys.readouterr().out.splitlines()
    assert any(re.search(problem, line) for line in lines), lines
    assert re.search("problems?; version 1", lines[-1])


def test_verify_encodes_the_golden_images_again(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["verify", "--store", str(store)]) == 0
    assert "sound; version 1" in capsys.readouterr().out


def test_verify_reports_other_golden_vectors(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.store.self_test", _refuse_golden)
    assert command.main(["verify", "--store", str(store)]) == 1
    assert "golden vectors: they differ" in capsys.readouterr().out


def test_verify_says_when_the_encoder_cannot_be_loaded(table: FeatureTable, capsys: pytest.CaptureFixture[str]) -> None:
    run(table, "verify", status=1)
    first, last = capsys.readouterr().out.splitlines()
    assert "golden vectors: --encoder drawn by the tests does not exist" in first
    assert "1 problem; version 2, 4 files, 30 rows, golden images fail" in last


def _refuse_golden(encoder: object, golden: object) -> None:
    from transforms.errors import SelfTestError

    raise SelfTestError("they differ")


def test_retract(table: FeatureTable, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ["--image-id", builders.image_id(1), "--image-uri", "/photographs/ä 3.jpg", "--group", "group 4"]
    planned = record(capsys, table, "retract", *flags, "--dry-run", "--image-id", "unheard")
    assert planned["unknown"] == ["unheard"]
    assert planned["tables"][0]["rows"] == 3
    assert builders.contents(table.path) == EXPECTED
    run(table, "retract", *flags)
    text = capsys.readouterr().out
    assert "3 images (3 rows) retracted; version 3 is without them" in text
    assert "older versions keep these rows" in text
    left = {key: value for key, value in EXPECTED.items() if key not in map(builders.image_id, (1, 3, 4))}
    assert builders.contents(table.path) == left
    assert builders.contents(table.path, 2) == EXPECTED
    run(table, "retract", *flags)
    assert "nothing to retract" in capsys.readouterr().out
    assert FeatureTable.open(table.path).version == 3


def test_retract_by_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transforms.sources.reference import ImageReference

    table = builders.make_table(tmp_path / "store")
    uris = [str(tmp_path / f"{name}.jpg") for name in "abc"]
    ids = [ImageReference(uri).image_id for uri in uris]
    batch = {**builders.columns(range(3)), "image_uri": uris, "image_id": ids}
    table.append("one", [builders.write_columns(table, batch)])
    manifest = tmp_path / "gone.csv"
    manifest.write_text("uri\n" + "\n".join([uris[0], uris[2], str(tmp_path / "z.jpg")]) + "\n")
    found = record(capsys, table, "retract", "--manifest", str(manifest))
    assert len(found["unknown"]) == 1
    assert set(builders.contents(table.path)) == {ids[1]}


def test_compact(table: FeatureTable, capsys: pytest.CaptureFixture[str]) -> None:
    before = record(capsys, table, "compact", "--dry-run")["tables"][0]
    assert (before["files_before"], before["files_after"], before["version"]) == (4, 1, 2)
    done = record(capsys, table, "compact")["tables"][0]
    assert (done["files_after"], done["rows_rewritten"], done["version"]) == (1, 30, 3)
    assert builders.contents(table.path) == EXPECTED
    assert builders.contents(table.path, 2) == EXPECTED
    assert len(FeatureTable.open(table.path).data_files()) == 1
    run(table, "compact")
    assert "nothing to compact in 1 file" in capsys.readouterr().out
    run(table, "verify", "--skip-golden")
    entry = record(capsys, table, "show")["tables"][0]["versions"][-1]
    assert (entry["operation"], entry["rows"]) == ("compact", 30)
    log = Path(table.path, "_delta_log", f"{3:020d}.json").read_text()
    assert '"dataChange":true' not in log


def test_vacuum_keeps_what_the_retention_and_models_need(
    table: FeatureTable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table.append("three", [builders.write_part(table, [8], 1)], [builders.image_id(8)], base_version=2)
    set_commit_times(table, {0: 400, 1: 300, 2: 200, 3: 10})
    assert record(capsys, table, "vacuum", "--dry-run")["tables"][0]["lost_versions"] == [1]
    planned = record(capsys, table, "vacuum", "--dry-run", "--keep-version", "1")["tables"][0]
    assert (planned["lost_versions"], planned["kept_versions"], planned["replaced"]) == ([], [1], [])
    planned = record(capsys, table, "vacuum", "--dry-run", "--retention-hours", "500")["tables"][0]
    assert planned["lost_versions"] == []
    run(table, "vacuum")
    assert "1 replaced file, 0 orphans" in capsys.readouterr().out
    assert builders.contents(table.path, 2) == EXPECTED, "it was the newest until 10 hours ago"
    assert builders.contents(table.path) == EXPECTED | builders.expected([8], 1)
    shown = record(capsys, table, "show")["tables"][0]["versions"]
    assert [entry["missing"] for entry in shown] == [0, 1, 0, 0]
    run(table, "vacuum")
    assert "0 replaced files, 0 orphans and 0 stale work files removed" in capsys.readouterr().out


def test_vacuum_keeps_the_version_that_a_model_cites(
    model: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["vacuum", "--store", str(store), "--models", str(model), "--dry-run", "--json"]
    assert command.main([*call, "--retention-hours", "0", "--force"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)["tables"]
    assert plan["lost_versions"] == []
    assert plan["replaced"] == []


def test_vacuum_leaves_what_a_run_may_still_want(table: FeatureTable, capsys: pytest.CaptureFixture[str]) -> None:
    marked, orphan, fresh = (builders.write_part(table, [number]) for number in (97, 98, 99))
    workspace = Workspace(root=table.path)
    result = ShardResult(
        name="a" * 24,
        run_id="run", files={"data": marked.path}, sizes={"data": marked.size}, rows=1, encoded=1,
        copied=0, failures={},
        failure_example="", classes={}, replaced=0, stage_seconds={}, peak_memory_mb=0.0,
    )  # fmt: skip
    workspace.finish(result)
    for part in (marked, orphan):
        age(Path(table.path, part.path), 200)
    planned = record(capsys, table, "vacuum", "--dry-run")["tables"][0]
    assert (planned["orphans"], planned["work"]) == ([orphan.path], [])
    beat = Path(table.path, "_work/progress/run/1")
    beat.parent.mkdir(parents=True)
    beat.write_text("[1, 0, 0, 0]")
    planned = record(capsys, table, "vacuum", "--dry-run")["tables"][0]
    assert (planned["orphans"], planned["work"], planned["running"]) == ([], [], True)
    age(beat, 200)
    age(Path(table.path, f"_work/shards/{result.name}.json"), 200)
    run(table, "vacuum")
    assert not Path(table.path, orphan.path).exists()
    assert not Path(table.path, marked.path).exists()
    assert not beat.exists()
    assert Path(table.path, fresh.path).exists()
    assert workspace.find(result.name) is None
    assert builders.contents(table.path) == EXPECTED


def exported(table: FeatureTable, kind: str, output: Path, *flags: str) -> Path:
    run(table, "export", "--format", kind, "--output", str(output), *flags)
    assert json.loads((output / "export.json").read_text())["version"] == 2
    assert [path.name for path in output.parent.iterdir() if path.name.startswith(".")] == []
    return output


def test_export_numpy(table: FeatureTable, tmp_path: Path) -> None:
    output = exported(table, "numpy", tmp_path / "out")
    expected = open_features(str(Path(table.path).parent)).numpy()
    np.testing.assert_array_equal(np.load(output / "embeddings.npy"), expected.embeddings)
    assert pq.read_table(output / "metadata.parquet")["image_id"].to_pylist() == expected.image_ids


def test_export_clip_retrieval(table: FeatureTable, tmp_path: Path) -> None:
    output = exported(table, "clip-retrieval", tmp_path / "out", "--rows-per-file", "11")
    expected = open_features(str(Path(table.path).parent)).numpy()
    names = sorted(path.name for path in (output / "img_emb").iterdir())
    assert names == [f"img_emb_{n}.npy" for n in range(3)]
    pieces = [np.load(output / "img_emb" / name) for name in names]
    assert [len(piece) for piece in pieces] == [11, 11, 8]
    found = np.concatenate(pieces)
    assert found.dtype == np.float16
    unit = expected.embeddings / np.linalg.norm(expected.embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(found, unit, atol=1e-3)
    tables = [pq.read_table(output / "metadata" / f"metadata_{n}.parquet") for n in range(3)]
    assert [uri for each in tables for uri in each["image_path"].to_pylist()] == expected.image_uris
    assert tables[0].num_rows == 11


def test_export_tfrecord(table: FeatureTable, tmp_path: Path) -> None:
    import tensorflow as tf

    flags = ["--split", "test", "--attribute", "cell=mono", "--rows-per-file", "3"]
    output = exported(table, "tfrecord", tmp_path / "out", *flags)
    files = sorted(str(path) for path in output.glob("*.tfrecord"))
    chosen = open_features(str(Path(table.path).parent), splits=["test"], attributes={"cell": "mono"}).numpy()
    found = [tf.train.Example.FromString(raw.numpy()).features.feature for raw in tf.data.TFRecordDataset(files)]
    assert [f["image_id"].bytes_list.value[0].decode() for f in found] == chosen.image_ids
    np.testing.assert_array_equal([f["embedding"].float_list.value for f in found], chosen.embeddings)
    assert found[0]["attributes/cell"].bytes_list.value[0] == b"mono"


def test_export_csv(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path / "store")
    table.append("zero", [builders.write_part(table, [5])])
    batch = {**builders.columns(range(2)), "image_uri": ["=cmd()", "+1"], "labels": [("-a", "b"), ("@",)]}
    table.append("one", [builders.write_columns(table, batch)])
    output = exported(table, "csv", tmp_path / "out", "--label=-a", "--label", "@")
    rows = list(csv.DictReader((output / "features.csv").open()))
    assert [row["image_uri"] for row in rows] == ["'=cmd()", "'+1"]
    assert [row["labels"] for row in rows] == ["'-a|b", "'@"]
    vectors = [[float(row[f"embedding_{n}"]) for n in range(8)] for row in rows]
    np.testing.assert_array_equal(np.array(vectors, np.float32), [builders.vector(0), builders.vector(1)])


@pytest.mark.parametrize("kind", FORMATS)
def test_export_of_nothing(tmp_path: Path, kind: str) -> None:
    table = builders.make_table(tmp_path / "store")
    run(table, "export", "--format", kind, "--output", str(tmp_path / "out"))
    assert json.loads((tmp_path / "out/export.json").read_text())["rows"] == 0


def test_a_failed_export_leaves_nothing(table: FeatureTable, tmp_path: Path) -> None:
    Path(table.path, table.data_files()[0].path).unlink()
    run(table, "export", "--format", "csv", "--output", str(tmp_path / "out"), status=2)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_train_and_score_read_a_version_by_time_and_record_its_number(
    store: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import score, train

    later, earlier = ["--version", "2100-01-01T12:00Z"], ["--version", "2001-01-01"]
    assert score.main(["--store", str(store), "--model", str(model), "--output", str(tmp_path / "out"), *later]) == 0
    assert json.loads((tmp_path / "out/run.json").read_text())["configuration"]["version"] == 1
    made = tmp_path / "model"
    call = ["--store", str(store), "--model", str(made), "--train-epochs", "2"]
    assert train.main([*call, *later]) == 0
    assert json.loads((made / "1/model.json").read_text())["data"]["table_version"] == 1
    assert "--version 1" in (made / "1/model_card.md").read_text()
    capsys.readouterr()
    assert train.main([*call, *earlier]) == 2
    assert "has no version of 2001-01-01T00:00:00" in capsys.readouterr().err

from __future__ import annotations

import datetime
import itertools
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.transforms.store import builders
from transforms.errors import OptionError, StoreError
from transforms.store import FeatureSet, open_features

NUMBERS = range(2500)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three parts of several row groups, one row of them replaced; an orphan beside them; not to be changed."""
    path = tmp_path_factory.mktemp("store")
    table = builders.make_table(path)
    parts = [builders.write_part(table, NUMBERS[:1200]), builders.write_part(table, NUMBERS[1200:])]
    table.append("one", parts)
    table.append("two", [builders.write_part(table, [7], 1, views=2)], [builders.image_id(7)], base_version=1)
    builders.write_part(table, [9999])
    return path


def wanted(test: Callable[[int], bool]) -> set[str]:
    return {builders.image_id(number) for number in NUMBERS if test(number)}


SELECTIONS: list[tuple[dict[str, Any], Callable[[int], bool]]] = [
    ({}, lambda n: True),
    ({"splits": ["test"]}, lambda n: n % 5 == 4),
    ({"splits": "train"}, lambda n: n % 5 < 3),
    ({"labels": ["label 1"]}, lambda n: n % 3 == 2),
    ({"labels": ["label 0", "label 1"]}, lambda n: n % 3 > 0),
    ({"labels": ["label"]}, lambda n: False),
    ({"labels": []}, lambda n: False),
    ({"attributes": {"cell": "mono"}}, lambda n: n % 4 > 0),
    ({"attributes": {"n": ["17", "20", "21"]}}, lambda n: n in (17, 21)),
    ({"attributes": {"n": "mono"}}, lambda n: False),
    (
        {"splits": ["test"], "labels": ["label 0"], "attributes": {"cell": "mono"}},
        lambda n: n % 5 == 4 and n % 3 > 0 < n % 4,
    ),
]


@pytest.mark.parametrize(
    ("chosen", "test"), SELECTIONS, ids=lambda value: str(value) if isinstance(value, dict) else ""
)
def test_every_form_gives_the_selected_rows(store: Path, chosen: dict[str, Any], test: Callable[[int], bool]) -> None:
    features = open_features(str(store), **chosen)
    whole = features.numpy()
    assert set(whole.image_ids) == wanted(test)
    assert len(whole.image_ids) == len(wanted(test))
    for image_id, vector in zip(whole.image_ids[:50], whole.embeddings, strict=False):
        number = next(n for n in NUMBERS if builders.image_id(n) == image_id)
        np.testing.assert_array_equal(vector, builders.vector(number, int(number == 7)))
    names = ["image_id", "labels"]
    batches = list(features.batches(names, batch_rows=300))
    assert all(0 < batch.num_rows <= 300 and batch.schema.names == names for batch in batches)
    assert [value for batch in batches for value in batch.column(0).to_pylist()] == whole.image_ids
    pieces = list(features.numpy_batches(batch_rows=400))
    assert [value for piece in pieces for value in piece.image_ids] == whole.image_ids
    assert [value for piece in pieces for value in piece.labels] == whole.labels
    if pieces:
        np.testing.assert_array_equal(np.concatenate([piece.embeddings for piece in pieces]), whole.embeddings)
    assert features.arrow_dataset().count_rows() == len(whole.image_ids)


def test_the_arrow_dataset_has_the_rows_of_its_version_only(store: Path) -> None:
    features = open_features(str(store), version=1)
    found = features.arrow_dataset().to_table(columns=["image_id", "sha256", "embedding"])
    assert found.num_rows == 2500
    contents = dict(zip(found["image_id"].to_pylist(), found["sha256"].to_pylist(), strict=True))
    assert contents == builders.expected(NUMBERS)
    assert found.schema.field("embedding").type == features.schema.field("embedding").type
    newest = open_features(str(store), views=None).arrow_dataset().to_table(columns=["image_id"])
    assert newest.num_rows == 2501


def test_versions_are_numbers_or_times(store: Path) -> None:
    assert [open_features(str(store), version=at).version for at in (1, "1", "2100-01-01", None)] == [1, 1, 2, 2]
    assert open_features(str(store), "tiny", datetime.datetime.now(datetime.UTC)).version == 2
    with pytest.raises(OptionError, match="'yesterday'"):
        open_features(str(store), version="yesterday")
    with pytest.raises(StoreError, match="has no version of 2020"):
        open_features(str(store), version="2020-01-01")


def test_examples_are_shared_out_and_add_up(store: Path) -> None:
    features = open_features(str(store), splits=["train", "test"])
    whole = features.numpy(["image_id"]).image_ids
    shares = [[row["image_id"] for row in features.examples(index, 3)] for index in range(3)]
    assert sorted(itertools.chain.from_iterable(shares)) == sorted(whole)
    assert all(shares)
    examples = features.examples(columns=["image_id", "attributes", "labels"])
    first, again = next(iter(examples)), next(iter(examples))
    assert first["image_id"] == again["image_id"] == whole[0]
    number = next(n for n in NUMBERS if builders.image_id(n) == first["image_id"])
    assert first["attributes"] == ({"cell": "mono", "n": str(number)} if number % 4 else {})
    assert first["embedding"].shape == (builders.DIMENSION,)
    assert first["embedding"].dtype == np.float32
    for bad in ((3, 3), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="index must be between"):
            features.examples(*bad)


def test_a_feature_set_can_be_sent_to_another_process(store: Path) -> None:
    features = open_features(str(store), labels=["label 0"])
    copy: FeatureSet = pickle.loads(pickle.dumps(features))
    assert copy == features
    assert copy.numpy(["image_id"]).image_ids == features.numpy(["image_id"]).image_ids


def test_an_empty_table(tmp_path: Path) -> None:
    builders.make_table(tmp_path)
    features = open_features(str(tmp_path), labels=["a"])
    assert features.numpy().embeddings.shape == (0, builders.DIMENSION)
    assert features.arrow_dataset().to_table().schema == features.schema.remove_metadata()
    assert list(features.batches()) == list(features.numpy_batches()) == list(features.examples()) == []


def test_files_that_others_rewrote_read_the_same(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    table = builders.make_table(tmp_path)
    table.append("one", [builders.write_part(table, range(60)), builders.write_part(table, range(60, 90))])
    DeltaTable(table.path).optimize.compact()
    features = open_features(str(tmp_path), labels=["label 1"], attributes={"cell": "mono"})
    ids = {builders.image_id(n) for n in range(90) if n % 3 == 2 and n % 4}
    assert set(features.numpy().image_ids) == ids
    found = features.arrow_dataset().to_table()
    assert set(found["image_id"].to_pylist()) == ids
    assert found.schema == features.schema.remove_metadata()


def test_tf_data(store: Path) -> None:
    features = open_features(str(store), splits=["test"])
    whole = features.numpy()
    elements = list(features.tf_dataset(200))
    np.testing.assert_array_equal(np.concatenate([e["embedding"] for e in elements]), whole.embeddings)
    assert [i.decode() for e in elements for i in e["image_id"].numpy()] == whole.image_ids
    labels = [[text.decode() for text in row] for row in elements[0]["labels"].to_list()]
    assert labels == [list(row) for row in whole.labels[: len(labels)]]


def test_slices_of_lists_and_maps_are_told_apart() -> None:
    from transforms.store.read import Selection

    labels = pa.array([["a"], ["b", "c"], [], ["a", "c"], None], pa.list_(pa.string()))
    attributes = pa.array(
        [[("k", "1")], [("k", "2"), ("j", "1")], [], [("j", "2")], None], pa.map_(pa.string(), pa.string())
    )
    table = pa.table({"labels": labels, "attributes": attributes}).slice(1)
    assert list(Selection.of(labels=["c"]).mask(table)) == [True, False, True, False]
    assert list(Selection.of(attributes={"k": "2"}).mask(table)) == [True, False, False, False]
    assert list(Selection.of(attributes={"j": ["1", "2"]}).mask(table)) == [True, False, True, False]


_STRANGER = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"apache_beam", "tensorflow", "keras", "torch", "pandas", "PIL", "pipelines"}:
            raise ImportError(name + " is not there")
sys.meta_path.insert(0, Refuse())
from transforms.store import open_features
features = open_features(sys.argv[1], splits=["test"])
print(features.numpy().embeddings.shape[0], sum(1 for _ in features.examples()), features.arrow_dataset().count_rows())
"""


def test_reading_needs_neither_beam_nor_tensorflow(store: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STRANGER, str(store)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "500 500 500\n", done.stderr

"""Commits to a table on S3 and on Cloud Storage: of several at once none is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.transforms.store.builders import GOLDEN, columns, specification
from transforms.files.filesystem import join
from transforms.store.log import read_log
from transforms.store.read import read_features
from transforms.store.table import FeatureTable
from transforms.store.write import Part, PartWriter


def test_runs_that_commit_at_once_are_all_published_once(bucket: str) -> None:
    encoder = specification()
    table = FeatureTable.create(join(bucket, encoder.table_name), encoder, GOLDEN)

    def publish(number: int) -> bool:
        part = _write(table, number)
        first = table.append(f"run-{number}", [part], base_version=table.version)
        again = table.append(f"run-{number}", [part], base_version=table.version)
        assert again.version == first.version
        return again.already

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(publish, range(6)))
    versions = dict(read_log(table.path))
    assert sorted(versions) == list(range(7))
    features = read_features(FeatureTable.open(table.path))
    assert len(features.image_ids) == len(set(features.image_ids)) == 30
    runs = [info["heliograph.run_id"] for actions in versions.values() for info in _commits(actions)]
    assert sorted(runs) == [f"run-{number}" for number in range(6)]


def test_of_two_that_make_a_table_at_once_one_does(bucket: str) -> None:
    encoder = specification()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: FeatureTable.create(join(bucket, "t"), encoder, GOLDEN), range(4)))
    assert [table.version for table in made] == [0] * 4
    assert [version for version, _ in read_log(join(bucket, "t"))] == [0]


def _write(table: FeatureTable, number: int) -> Part:
    path = f"data/part-{number}.parquet"
    with PartWriter(table.path, path, table.schema, table.file_metadata) as writer:
        writer.write(columns(range(number * 5, number * 5 + 5), run_id=f"run-{number}"))
    return writer.part


def _commits(actions: list[dict[str, dict[str, str]]]) -> list[dict[str, str]]:
    found = [action["commitInfo"] for action in actions if "commitInfo" in action]
    return [info for info in found if "heliograph.run_id" in info]

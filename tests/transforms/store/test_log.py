from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from tests.transforms.store import builders
from transforms.errors import OptionError, StoreError
from transforms.store import log
from transforms.store.catalog import open_table
from transforms.store.log import VersionEntry, last_change, parse_version, read_versions
from transforms.store.table import FeatureTable


def at(hour: int, minute: int = 0) -> datetime.datetime:
    return datetime.datetime(2026, 3, 1, hour, minute, tzinfo=datetime.UTC)


@pytest.fixture
def dated(tmp_path: Path) -> FeatureTable:
    """Four versions, committed at 1, 2, 3 and 4 o'clock."""
    table = builders.make_table(tmp_path)
    table.append("one", [builders.write_part(table, range(4))], metadata={"listed": "4", "failed": "0"})
    table.append("two", [builders.write_part(table, [3, 4], 1)], [builders.image_id(3)], base_version=1)
    table.append("three", [], [builders.image_id(0)], {"operation": "retract"})
    for version in range(4):
        file = Path(table.path, "_delta_log", f"{version:020d}.json")
        actions = [json.loads(line) for line in file.read_text().splitlines()]
        for action in actions:
            if "commitInfo" in action:
                action["commitInfo"]["timestamp"] = int(at(version + 1).timestamp() * 1000)
        file.write_text("\n".join(map(json.dumps, actions)))
    return table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("17", 17),
        ("2026-03-01", at(0)),
        ("2026-03-01T02:30", at(2, 30)),
        ("2026-03-01T02:30Z", at(2, 30)),
        ("2026-03-01T04:30+02:00", at(2, 30)),
    ],
)
def test_a_version_is_a_number_or_a_time(text: str, expected: object) -> None:
    assert parse_version(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "newest", "1.5", "2026-13-01", "9" * 30])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--version must be a number such as 3 or a time"):
        parse_version(text)


def test_a_time_means_the_version_that_was_the_newest_then(dated: FeatureTable) -> None:
    found = [FeatureTable.open(dated.path, moment).version for moment in (at(1), at(1, 59), at(3), at(23))]
    assert found == [0, 0, 2, 3]
    assert open_table(str(Path(dated.path).parent), version=at(2)).version == 1
    assert builders.contents(dated.path, 1) == builders.expected(range(4))
    with pytest.raises(StoreError, match=r"has no version of 2026-03-01T00:59:00.*begins at 2026-03-01T01:00:00"):
        FeatureTable.open(dated.path, at(0, 59))


def test_versions_say_what_they_did(dated: FeatureTable) -> None:
    create, one, two, three = read_versions(dated.path)
    assert (create.operation, create.rows, create.files, create.time) == ("create", 0, 0, at(1))
    assert (one.operation, one.run_id, one.rows, one.rows_added) == ("embed", "one", 4, 4)
    assert one.counts == {"listed": 4, "failed": 0}
    assert "@" in one.by
    assert (two.rows, two.files, two.rows_added, two.rows_removed) == (5, 2, 5, 4)
    assert (three.operation, three.rows) == ("retract", 4)
    assert three.to_json()["time"] == "2026-03-01T04:00:00.000+00:00"


def test_a_version_whose_files_are_gone_says_so(dated: FeatureTable) -> None:
    live = {file.path for file in FeatureTable.open(dated.path).data_files()}
    assert [entry.missing for entry in read_versions(dated.path, live)] == [0, 1, 1, 0]


def test_the_last_change_is_told_without_reading_what_was_before(dated: FeatureTable) -> None:
    Path(dated.path, "_delta_log", f"{0:020d}.json").write_text("no JSON")
    assert last_change(dated.path, 3) == at(4)
    assert last_change(dated.path, 1) == at(2)


def test_a_log_that_was_cut_begins_at_its_checkpoint(dated: FeatureTable) -> None:
    from deltalake import DeltaTable

    whole = read_versions(dated.path)
    DeltaTable(dated.path, version=2).create_checkpoint()
    for version in range(2):
        Path(dated.path, "_delta_log", f"{version:020d}.json").unlink()
    left: list[VersionEntry] = read_versions(dated.path)
    assert [entry.version for entry in left] == [2, 3]
    assert left[-1] == whole[-1]


def test_a_log_that_is_made_while_it_is_looked_for_is_found(
    dated: FeatureTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow lists a directory, is refused, and then looks whether it is there: made in between, it is an error."""
    answers: list[Exception | None] = [FileNotFoundError("made a moment later"), None]

    class Hesitant:
        def get_file_info(self, selector: fs.FileSelector) -> Any:
            if answer := answers.pop(0):
                raise answer
            return fs.LocalFileSystem().get_file_info(selector)

    monkeypatch.setattr(log, "open_filesystem", lambda path: (Hesitant(), path))
    assert log.has_log(dated.path)
    assert not answers

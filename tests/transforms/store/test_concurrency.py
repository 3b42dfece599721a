"""Several processes at one table at once, and a table whose permission is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transforms.store import builders
from tests.transforms.store.test_commit import go, start
from transforms.store.compact import compact
from transforms.store.table import FeatureTable
from transforms.store.verify import verify_table

_COMPACT = """
import sys
from transforms.store.compact import compact
from transforms.store.table import FeatureTable
table = FeatureTable.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(compact(FeatureTable.open(sys.argv[1]), "compaction").version, flush=True)
"""


def test_embeds_a_retraction_and_a_compaction_at_once_with_readers_throughout(tmp_path: Path) -> None:
    """Whatever the order, a reader sees each commit whole or not at all, and each image once."""
    table = builders.make_table(tmp_path)
    table.append("old", [builders.write_part(table, range(n, n + 10)) for n in (0, 10, 20)])
    retracted, changed = set(map(builders.image_id, range(5))), [builders.image_id(25)]
    embeds = {"a": [*range(100, 120), 25], "b": range(200, 220)}
    children = [
        start(table, "a", [builders.write_part(table, embeds["a"], 1)], 1, changed),
        start(table, "b", [builders.write_part(table, embeds["b"], 1)], 1),
        start(table, "retraction", [], 1, sorted(retracted)),
        subprocess.Popen(
            [sys.executable, "-c", _COMPACT, table.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ),
    ]
    go(children)
    seen = 0
    while any(child.poll() is None for child in children) or seen < 3:
        found = builders.contents(table.path)  # fails when an image has two rows
        seen += 1
        assert retracted <= found.keys() or not retracted & found.keys(), "half a retraction"
        for numbers in embeds.values():
            there = [found.get(builders.image_id(n)) == builders.content(n, 1) for n in numbers]
            assert all(there) or not any(there), "half a run"
        assert builders.expected([*range(5, 25), *range(26, 30)]).items() <= found.items()
    assert [child.wait(timeout=30) for child in children] == [0] * 4
    final = builders.expected([*range(5, 25), *range(26, 30)])
    assert builders.contents(table.path) == final | builders.expected([*embeds["a"], *embeds["b"]], 1)
    newest = FeatureTable.open(table.path)
    assert newest.version in (4, 5), "the compaction may have had nothing left to do"
    assert verify_table(newest).problems == ()


def test_a_compaction_leaves_what_a_faster_commit_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transforms.store import compact as module

    table = builders.make_table(tmp_path)
    table.append("old", [builders.write_part(table, range(n, n + 10)) for n in (0, 10)])
    real = module._merge

    def overtaken(*arguments: object) -> object:
        table.append("retraction", [], [builders.image_id(3)])
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_merge", overtaken)
    done = compact(FeatureTable.open(table.path), "compaction")
    assert (done.version, done.rows_rewritten) == (2, 0)
    assert builders.contents(table.path) == builders.expected([n for n in range(20) if n != 3])
    assert verify_table(FeatureTable.open(table.path)).orphans == ()


_WITHOUT_PERMISSION = """
import os, sys
from tests.transforms.store import builders
from transforms.errors import CommitError
from transforms.store.table import FeatureTable
from transforms.store.write import Part
path, name, rows, size = sys.argv[1:]
table = FeatureTable.open(path)
builders.contents(path)
rows_of_the_part = builders.columns(range(20, 30))  # before Python's own files may be out of reach
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
def part(): builders.write_columns(table, rows_of_the_part)
def log(): table.append("run", [Part(name, int(rows), int(size))])
for attempt in (part, log):
    try:
        attempt()
    except CommitError as error:
        print(error)
print(len(builders.contents(path)))
"""


@pytest.fixture
def readable() -> Iterator[Path]:
    """A directory that another user can read; those of pytest cannot be."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    for directory, *_ in os.walk(path):
        os.chmod(directory, 0o755)
    shutil.rmtree(path)


def test_a_lost_permission_is_one_line_and_the_next_run_goes_on(readable: Path) -> None:
    table = builders.make_table(readable)
    table.append("old", [builders.write_part(table, range(10))])
    part = builders.write_part(table, range(10, 20))
    for directory, *_ in os.walk(readable):
        os.chmod(directory, 0o555)
    call = [sys.executable, "-c", _WITHOUT_PERMISSION, table.path, *map(str, part)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    data, log, rows = done.stdout.splitlines()
    assert "cannot be written" in data
    assert "Permission denied" in data
    assert "nothing was published" in log
    assert "ermission denied" in log
    assert rows == "10", "the table can be read"
    for directory, *_ in os.walk(readable):
        os.chmod(directory, 0o755)
    table.append("run", [part])
    assert len(builders.contents(table.path)) == 20

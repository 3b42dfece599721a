from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.transforms.store import builders
from transforms.errors import CommitError
from transforms.store import commit, open_features
from transforms.store.commit import Committed
from transforms.store.schema import file_metadata
from transforms.store.table import FeatureTable
from transforms.store.write import Part, PartWriter


def version_of(table: FeatureTable) -> int:
    return FeatureTable.open(table.path).version


def test_a_run_is_one_version_and_says_so(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    parts = [builders.write_part(table, range(4)), builders.write_part(table, range(4, 7))]
    committed = table.append("run 1", parts, metadata={"listed": "9"})
    assert committed == Committed(1, 7, already=False)
    assert builders.contents(table.path) == builders.expected(range(7))
    (entry, *_) = DeltaTable(table.path).history()
    assert entry["heliograph.listed"] == "9"
    assert entry["heliograph.run_id"] == "run 1"
    assert entry["heliograph.rows"] == "7"


def test_the_log_knows_ranges_and_nulls(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("run", [builders.write_part(table, range(3), views=2)])
    known = pa.table(DeltaTable(table.path).get_add_actions(flatten=True)).to_pylist()[0]
    ids = sorted(builders.image_id(number) for number in range(3))
    assert known["num_records"] == 6
    assert (known["min.image_id"], known["max.image_id"]) == (ids[0], ids[-1])
    assert (known["min.split"], known["max.split"]) == ("train", "train")
    assert (known["min.view_id"], known["max.view_id"], known["null_count.view_id"]) == (0, 1, 0)


def test_the_same_run_again_changes_nothing(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    part = builders.write_part(table, range(4))
    first = table.append("run", [part])
    assert table.append("run", [part]) == first._replace(already=True)
    FeatureTable.open(table.path).append("other", [builders.write_part(table, range(4, 6))])
    other = builders.write_part(table, range(4))  # another attempt at the same run has parts of its own
    assert FeatureTable.open(table.path).append("run", [other]) == first._replace(already=True)
    Path(table.path, part.path).unlink()
    assert table.append("run", [part]) == first._replace(already=True), "a published run needs no parts"
    assert version_of(table) == 2


def test_nothing_to_add_makes_no_version(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    empty = builders.write_part(table, [])
    assert table.append("run", []) == Committed(0, 0, already=False)
    assert table.append("run", [empty]) == Committed(0, 0, already=False)
    assert version_of(table) == 0


def _spoil(table: FeatureTable, part: Part, how: str) -> Part:
    path = Path(table.path, part.path)
    if how == "deleted":
        path.unlink()
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "cut and believed":
        path.write_bytes(path.read_bytes()[:-100])
        return part._replace(size=path.stat().st_size)
    elif how == "rubbish":
        path.write_bytes(b"x" * part.size)
    elif how == "fewer rows":
        return part._replace(rows=part.rows + 1)
    elif how == "outside":
        return part._replace(path="data/../../x.parquet")
    elif how == "directory":
        path.unlink()
        path.mkdir()
    return part


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("deleted", "does not exist"),
        ("cut short", "bytes, .* were written"),
        ("cut and believed", "cannot be read"),
        ("rubbish", "cannot be read"),
        ("fewer rows", "has 4 rows, 5 were written"),
        ("outside", "must be named data/"),
        ("directory", "does not exist"),
    ],
)
def test_a_spoilt_part_publishes_nothing(tmp_path: Path, how: str, message: str) -> None:
    table = builders.make_table(tmp_path)
    good, bad = builders.write_part(table, range(4)), builders.write_part(table, range(4, 8))
    with pytest.raises(CommitError, match=message) as caught:
        table.append("run", [good, _spoil(table, bad, how)])
    assert "\n" not in str(caught.value)
    assert version_of(table) == 0


def _other_part(table: FeatureTable, change: Callable[[pa.Table], pa.Table], metadata: dict[str, str]) -> Part:
    good = builders.write_part(table, range(4))
    found = change(pq.read_table(Path(table.path, good.path)))
    pq.write_table(found.replace_schema_metadata(metadata), Path(table.path, "data/other.parquet"))
    size = Path(table.path, "data/other.parquet").stat().st_size
    return Part("data/other.parquet", found.num_rows, size)


def _retyped(found: pa.Table) -> pa.Table:
    column = found.schema.get_field_index("embedding")
    return found.set_column(column, "embedding", found.column("embedding").cast(pa.list_(pa.float64())))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.drop_columns(["sha256"]), "column 'sha256' is missing"),
        (lambda found: found.append_column("colour", [["red"] * 4]), "column 'colour' is unknown"),
        (_retyped, r"column 'embedding' is list<element: double>"),
    ],
)
def test_a_part_of_another_schema_is_refused(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    table = builders.make_table(tmp_path)
    with pytest.raises(CommitError, match=message):
        table.append("run", [_other_part(table, change, table.file_metadata)])
    assert version_of(table) == 0


def test_a_part_of_another_encoder_or_dimension_is_refused(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    other = dataclasses.replace(builders.specification(), weights_sha256="1" * 64)
    with pytest.raises(CommitError, match=f"is of encoder {other.fingerprint}"):
        table.append("run", [_other_part(table, lambda found: found, file_metadata(other))])
    with pytest.raises(CommitError, match="is of encoder unknown"):
        table.append("run", [_other_part(table, lambda found: found, {})])
    batch = builders.columns(range(4), dimension=7)
    with PartWriter(table.path, "data/s.parquet", table.schema.remove_metadata(), table.file_metadata) as writer:
        writer.write(batch)
    with pytest.raises(CommitError, match="28 vector values, 4 rows × 8"):
        table.append("run", [writer.part])
    assert version_of(table) == 0


def test_a_part_named_twice_is_refused(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    part = builders.write_part(table, range(4))
    with pytest.raises(CommitError, match="named twice"):
        table.append("run", [part, part])


def test_a_part_that_another_run_published_is_not_added_again(tmp_path: Path) -> None:
    """Two runs at once share the markers of finished shards, and so their parts."""
    table = builders.make_table(tmp_path)
    table.append("old", [builders.write_part(table, range(2))])
    shared = builders.write_part(table, [0, 2], generation=1)
    changed = [builders.image_id(0)]
    assert table.append("a", [shared], changed, base_version=1).version == 2
    more = builders.write_part(table, [3], generation=1)
    assert table.append("b", [shared, more], changed, base_version=1) == Committed(3, 3, already=False)
    assert table.append("c", [shared], changed, base_version=1) == Committed(3, 2, already=True)
    assert builders.contents(table.path) == builders.expected([1]) | builders.expected([0, 2, 3], 1)


_APPEND = """
import sys
from transforms.store import commit
from transforms.store.table import FeatureTable
from transforms.store.write import Part
path, run_id, base, replaced, crash, *parts = sys.argv[1:]
table = FeatureTable.open(path)
if crash == "before":
    commit._commit = lambda *_: __import__("os").kill(__import__("os").getpid(), 9)
if crash == "after":
    commit._sync_log = lambda *_: __import__("os").kill(__import__("os").getpid(), 9)
print("ready", flush=True)
sys.stdin.readline()
parts = [Part(name, int(rows), int(size)) for name, rows, size in (part.split(":") for part in parts)]
done = table.append(run_id, parts, [i for i in replaced.split(",") if i], {}, int(base))
print(done.version, done.rows, done.already, flush=True)
"""


def start(
    table: FeatureTable,
    run_id: str,
    parts: list[Part],
    base: int,
    replaced: Sequence[str] = (),
    crash: str = "",
) -> subprocess.Popen[str]:
    named = [f"{part.path}:{part.rows}:{part.size}" for part in parts]
    return subprocess.Popen(
        [sys.executable, "-c", _APPEND, table.path, run_id, str(base), ",".join(replaced), crash, *named],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(children: list[subprocess.Popen[str]]) -> None:
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()


def answers(children: list[subprocess.Popen[str]]) -> list[list[str]]:
    texts = [child.communicate(timeout=60)[0].split() for child in children]
    assert [child.returncode for child in children] == [0] * len(children)
    return texts


def test_the_same_run_from_three_processes_is_published_once(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    part = builders.write_part(table, range(50))
    children = [start(table, "run", [part], 0) for _ in range(3)]
    go(children)
    found = answers(children)
    assert [answer[:2] for answer in found] == [["1", "50"]] * 3
    assert version_of(table) == 1
    assert builders.contents(table.path) == builders.expected(range(50))


def test_different_runs_at_once_are_all_published(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    children = []
    for number in range(4):
        numbers = range(number * 10, number * 10 + 10)
        children.append(start(table, f"run {number}", [builders.write_part(table, numbers)], 0))
    go(children)
    found = answers(children)
    assert sorted(answer[0] for answer in found) == ["1", "2", "3", "4"]
    assert {answer[2] for answer in found} == {"False"}
    assert builders.contents(table.path) == builders.expected(range(40))


def test_runs_at_once_that_share_images_leave_each_once(tmp_path: Path) -> None:
    """Every version that a reader can see has each image once, whichever run is faster."""
    table = builders.make_table(tmp_path)
    table.append("old", [builders.write_part(table, range(10))])
    replaced = [builders.image_id(number) for number in range(5)]
    children = [
        start(table, "a", [builders.write_part(table, [0, 1, 2, 3, 4, 20, 21, 22], 1)], 1, replaced),
        start(table, "b", [builders.write_part(table, [0, 1, 2, 3, 4, 21, 22, 23], 1)], 1, replaced),
        start(table, "c", [builders.write_part(table, [20, 21, 22, 23, 24], 1)], 1),
    ]
    go(children)
    answers(children)
    final = builders.expected(range(5, 10)) | builders.expected([0, 1, 2, 3, 4, 20, 21, 22, 23, 24], 1)
    assert builders.contents(table.path) == final
    for version in range(1, 5):
        assert builders.expected(range(5, 10)).items() <= builders.contents(table.path, version).items()
    live, _ = builders.live_and_dead(table)
    assert len(live) <= 6


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_killed_at_the_worst_moment(tmp_path: Path, moment: str) -> None:
    table = builders.make_table(tmp_path)
    table.append("old", [builders.write_part(table, range(10))])
    part = builders.write_part(table, range(5, 15), generation=1)
    changed = [builders.image_id(number) for number in range(5, 10)]
    child = start(table, "run", [part], 1, changed, crash=moment)
    go([child])
    assert child.wait(timeout=30) == -signal.SIGKILL
    assert version_of(table) == (2 if moment == "after" else 1)
    assert table.append("run", [part], changed, base_version=1) == Committed(2, 10, already=moment == "after")
    assert builders.contents(table.path) == builders.expected(range(5)) | builders.expected(range(5, 15), 1)


def by_dataset(path: str) -> list[str]:
    found: list[str] = open_features(str(Path(path).parent)).arrow_dataset().to_table(["image_id"])[0].to_pylist()
    return found


def by_polars(path: str) -> list[str]:
    found: list[str] = pl.scan_delta(path).select("image_id").collect()["image_id"].to_list()
    return found


def by_duckdb(path: str) -> list[str]:
    question = "SELECT image_id FROM read_parquet($files)"
    return [row[0] for row in duckdb.execute(question, {"files": DeltaTable(path).file_uris()}).fetchall()]


READERS = (lambda path: list(builders.contents(path)), by_dataset, by_polars, by_duckdb)


@contextlib.contextmanager
def readers(path: str) -> Iterator[list[int]]:
    """Reads with each tool in turn, all the time; raises what one of them found wrong."""
    done, counts = threading.Event(), [0]

    def read_on() -> int:
        for read in itertools.cycle(READERS):
            found = read(path)
            assert len(set(found)) == len(found), "an image has two rows"
            assert len(found) >= counts[-1], "a row was lost"
            assert len(found) % 10 == 0, "half a run"
            counts.append(len(found))
            if done.is_set():
                return len(counts)
        return 0

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_on)
        try:
            yield counts
        finally:
            done.set()
        reading.result(timeout=30)


@pytest.mark.slow
def test_kill_9_at_40_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    generator = random.Random(0)
    table.append("old", [builders.write_part(table, range(50))])
    final = builders.expected(range(50))
    rounds = 40
    works = []
    for number in range(rounds):
        fresh = [*range(100 + number * 10, 110 + number * 10), number, number + 1]
        part = builders.write_part(table, fresh, generation=number + 1)
        works.append((f"run {number}", [part], [builders.image_id(number), builders.image_id(number + 1)]))
        final |= builders.expected(fresh, number + 1)
    with readers(table.path) as counts:
        waiting = [start(table, run, parts, 0, changed) for run, parts, changed in works[:2]]
        killed = 0
        for number, (run_id, parts, changed) in enumerate(works):
            child = waiting.pop(0)
            if number + 2 < rounds:
                waiting.append(start(table, *works[number + 2][:2], 0, works[number + 2][2]))
            go([child])
            time.sleep(generator.uniform(0, 0.04))
            child.send_signal(signal.SIGKILL)
            killed += child.wait(timeout=30) == -signal.SIGKILL
            seen = builders.contents(table.path)  # a reader between the kill and the next attempt
            assert len(seen) in (50 + 10 * number, 60 + 10 * number)
            table.append(run_id, parts, changed, base_version=0)
            assert len(builders.contents(table.path)) == 60 + 10 * number
    assert killed >= rounds // 2
    assert len(set(counts)) > rounds // 2, "they read while runs were killed"
    assert builders.contents(table.path) == final


_READ_ONLY_LOG = """
import resource, signal, sys
from tests.transforms.store import builders
from transforms.errors import CommitError
from transforms.store.table import FeatureTable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
table = FeatureTable.open(sys.argv[1])
part = builders.write_part(table, range(5, 15), generation=1)
changed = [builders.image_id(number) for number in range(5, 10)]
import transforms.store.commit as commit
real = commit._commit
def full(*arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    return real(*arguments)
commit._commit = full
try:
    table.append("run", [part], changed, base_version=1)
except CommitError as error:
    print("refused", "\\n" not in str(error), "nothing was published" in str(error))
"""


def test_a_log_on_a_full_disk_publishes_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("old", [builders.write_part(table, range(10))])
    done = subprocess.run(
        [sys.executable, "-c", _READ_ONLY_LOG, table.path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "refused True True\n", done.stderr
    assert version_of(table) == 1
    assert builders.contents(table.path) == builders.expected(range(10))
    _, dead = builders.live_and_dead(table)
    assert len(dead) == 1, "the part waits, the rewritten file is gone"
    part = builders.write_part(table, range(5, 15), generation=1)
    changed = [builders.image_id(number) for number in range(5, 10)]
    assert table.append("run", [part], changed, base_version=1).version == 2


def test_an_answer_that_is_lost_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit arrives, its acknowledgement does not."""
    table = builders.make_table(tmp_path)
    real = commit._commit

    def deaf(*arguments: object) -> CommitError:
        assert real(*arguments) is None  # type: ignore[arg-type]
        return CommitError("connection reset")

    monkeypatch.setattr(commit, "_commit", deaf)
    part = builders.write_part(table, range(5))
    assert table.append("run", [part]) == Committed(1, 5, already=True)
    assert builders.contents(table.path) == builders.expected(range(5))


def test_a_version_that_is_replaced_at_once_can_still_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = builders.make_table(tmp_path)
    table.append("old", [builders.write_part(table, range(10))])
    real = commit._commit

    def overtaken(*arguments: object) -> None:
        monkeypatch.setattr(commit, "_commit", real)
        assert real(*arguments) is None  # type: ignore[arg-type]
        table.append("next", [], [builders.image_id(9)])

    monkeypatch.setattr(commit, "_commit", overtaken)
    assert table.append("run", [], [builders.image_id(0)]) == Committed(2, 0, already=False)
    assert builders.contents(table.path, 2) == builders.expected(range(1, 10))
    assert builders.contents(table.path) == builders.expected(range(1, 9))


def test_a_rewrite_that_fails_publishes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    parts = [builders.write_part(table, range(10)), builders.write_part(table, range(10, 20))]
    table.append("old", parts)
    damaged = max(Path(table.path, part.path) for part in parts)
    data = bytearray(damaged.read_bytes())
    start = data.index(builders.vector(0 if damaged.name in parts[0].path else 10).tobytes()) - 30
    data[start : start + 30] = b"x" * 30  # the page header of the vectors, which only a rewrite reads
    damaged.write_bytes(data)
    with pytest.raises(CommitError, match="cannot be rewritten"):
        table.append("run", [], [builders.image_id(0), builders.image_id(10)])
    assert version_of(table) == 1
    assert builders.live_and_dead(table)[1] == set()


def test_taking_out_what_is_not_there_makes_no_version(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("old", [builders.write_part(table, range(10))])
    assert table.append("run", [], [builders.image_id(99)]) == Committed(1, 0, already=False)


def test_many_files_and_a_checkpoint(tmp_path: Path) -> None:
    table = builders.make_table(tmp_path)
    table.append("many", [builders.write_part(table, [number]) for number in range(60)])
    DeltaTable(table.path).create_checkpoint()
    changed = [builders.image_id(number) for number in (3, 30)]
    table.append("two", [builders.write_part(table, [3, 30], 1)], changed, base_version=1)
    expected = builders.expected(range(60)) | builders.expected([3, 30], 1)
    assert builders.contents(table.path) == expected
    assert len(FeatureTable.open(table.path).data_files()) == 59
    assert os.listdir(Path(table.path, "data"))
    assert np.isfinite(FeatureTable.open(table.path).golden).all()

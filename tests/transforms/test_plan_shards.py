from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tests.flags import BEAM_FLAGS
from transforms.errors import OptionError
from transforms.files import runs
from transforms.files.runs import read_rows
from transforms.images.augment import Views
from transforms.list_images import ListImages
from transforms.plan_shards import PlanShards
from transforms.shards import plan as planning
from transforms.shards.plan import (
    KNOWN_SCHEMA,
    LISTED_SCHEMA,
    PlannedRange,
    PlannedShard,
    cut_file,
    join_cuts,
    known_row,
    listed_row,
    plan_range,
    shard_numbers,
)
from transforms.shards.shard import Shard
from transforms.sources.dialects import recognise
from transforms.sources.reference import ImageReference, Member
from transforms.sources.split import SplitRatios

CAT = ImageReference("/p/a.jpg", "1-1", ("cat",))


def table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*sorted(rows), strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "plan")


class Planner:
    """Plans lists of references against what a table knows, all in one range."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def __call__(
        self,
        listed: list[ImageReference],
        stored: list[ImageReference] | ImageReference | None = None,
        ratios: SplitRatios | None = None,
    ) -> PlannedRange:
        images = [] if stored is None else [stored] if isinstance(stored, ImageReference) else stored
        known = [known_row(image, image.image_id, "content", ["/p/", ""], ratios) for image in images]
        rows = table([listed_row(reference) for reference in listed], LISTED_SCHEMA)
        return plan_range(rows, table(known, KNOWN_SCHEMA), ratios, self.directory)

    def shards(self, listed: list[ImageReference], shard_size: int, total: int = 0) -> list[Shard]:
        planned = self(listed)
        cuts: dict[bytes, list[tuple[str, bytes]]] = collections.defaultdict(list)
        for container, cut in cut_file(planned.todo, total or planned.todo_rows, shard_size):
            cuts[container].append(cut)
        return [shard.load() for _, files in sorted(cuts.items()) for shard in join_cuts(files, "x")]


@pytest.fixture
def plan(directory: str) -> Planner:
    return Planner(directory)


def todo(planned: PlannedRange) -> list[tuple[ImageReference, bool]]:
    if not planned.todo:
        return []
    rows = read_rows(planned.todo, None, ["payload", "replaces"]).to_pylist()
    assert len(rows) == planned.todo_rows
    return [(ImageReference.from_json(row["payload"]), row["replaces"]) for row in rows]


def test_a_new_image_is_to_be_done(plan: Planner) -> None:
    planned = plan([CAT])
    assert planned.counts == {"listed": 1, "new": 1}
    assert todo(planned) == [(CAT, False)]


def test_an_unchanged_image_costs_nothing(plan: Planner) -> None:
    planned = plan([CAT], stored=CAT._replace(split="train"))
    assert planned.counts == {"listed": 1, "reused": 1}
    assert todo(planned) == []


@pytest.mark.parametrize(
    ("split", "there", "state"),
    [
        ("train", 2, "reused"),
        ("train", 0, "augmented"),
        ("train", 1, "augmented"),
        ("train", 3, "augmented"),
        ("test", 0, "reused"),
        ("test", 2, "augmented"),
    ],
)
def test_who_lacks_views_or_has_too_many_is_done_again(directory: str, split: str, there: int, state: str) -> None:
    views = Views(count=2, policy="texture")
    stored = CAT._replace(split=split)
    for keys, expected in (([views.key] * there, state), (["other"] * there, "augmented" if there else state)):
        known = known_row(stored, CAT.image_id, "content", ["/p/"], None, keys, views)
        rows = table([listed_row(CAT)], LISTED_SCHEMA)
        planned = plan_range(rows, table([known], KNOWN_SCHEMA), None, directory)
        assert planned.counts == {"listed": 1, expected: 1}
        assert todo(planned) == ([] if expected == "reused" else [(CAT, True)])


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (CAT._replace(fingerprint="1-2"), "changed"),
        (CAT._replace(fingerprint=""), "changed"),
        (CAT._replace(labels=("dog",)), "relabelled"),
        (CAT._replace(group="g"), "relabelled"),
        (CAT._replace(attributes=(("camera", "K"),)), "relabelled"),
        (CAT._replace(split="test"), "relabelled"),
        (CAT._replace(split="train"), "reused"),
    ],
)
def test_what_changed_since(plan: Planner, now: ImageReference, state: str) -> None:
    planned = plan([now], stored=CAT._replace(split="train"))
    assert planned.counts == {"listed": 1, state: 1}
    assert todo(planned) == ([] if state == "reused" else [(now, True)])


def test_a_new_division_relabels_what_falls_elsewhere(plan: Planner) -> None:
    for text, state in (("100/0/0", "reused"), ("0/0/100", "relabelled")):
        planned = plan([CAT], CAT._replace(split="train"), SplitRatios.parse(text))
        assert planned.counts == {"listed": 1, state: 1}


def test_an_image_that_is_gone_counts_as_removed_below_the_roots_only(plan: Planner) -> None:
    planned = plan([], stored=CAT)
    assert (planned.counts, planned.gone_rows) == ({"removed": 1}, 1)
    assert read_rows(planned.gone, None, ["image_id"]).to_pylist() == [{"image_id": CAT.image_id}]
    assert plan([], stored=CAT._replace(uri="/other/a.jpg")).counts == {}
    assert plan([], stored=CAT._replace(uri="/pp/a.jpg")).counts == {}


def test_the_same_entry_twice_is_one_image(plan: Planner) -> None:
    assert plan([CAT, CAT]).counts == {"listed": 1, "new": 1}
    assert plan([CAT, CAT], stored=CAT).counts == {"listed": 1, "reused": 1}


def test_the_same_image_with_two_labels_is_one_row_and_one_dead_letter(plan: Planner) -> None:
    planned = plan([CAT, CAT._replace(labels=("dog",))])
    assert planned.counts == {"listed": 2, "new": 2}
    (first, _), (second, _) = sorted(todo(planned), key=lambda entry: entry[0].problem)
    assert (first.labels, first.problem) == (("cat",), "")
    assert second.problem.startswith("DUPLICATE_ID: /p/a.jpg is listed 2 times")


def test_an_entry_with_a_problem_is_to_be_done_whatever_is_known(plan: Planner) -> None:
    bad = CAT._replace(problem="BAD_ROW: x")
    assert todo(plan([bad], stored=CAT)) == [(bad, False)]


def test_everything_at_once(plan: Planner) -> None:
    images = [ImageReference(f"/p/{n}.jpg", f"1-{n}", ("cat",), split="train") for n in range(40)]
    listed = [
        *images[:10],  # as they were
        *(image._replace(fingerprint="2") for image in images[10:15]),
        *(image._replace(labels=("dog",)) for image in images[15:18]),
        *(image._replace(uri=f"{image.uri}.new") for image in images[:7]),
        images[20],
        images[20]._replace(labels=("dog",)),
    ]
    planned = plan(listed, images[:35])
    assert planned.counts == {
        "listed": 27,
        "new": 8,
        "changed": 5,
        "relabelled": 3,
        "reused": 11,
        "removed": 35 - 19,
    }
    assert {r.uri for r, replaces in todo(planned) if replaces} == {f"/p/{n}.jpg" for n in range(10, 18)}
    assert (planned.todo_rows, planned.gone_rows) == (16, 16)


def test_shard_numbers_cover_the_range_evenly() -> None:
    ordinals = np.array([int(ImageReference(f"/p/{n}").image_id[:16], 16) for n in range(4000)], np.uint64)
    found = collections.Counter(shard_numbers(ordinals, False, 4000, 1000).tolist())
    assert sorted(found) == [0, 1, 2, 3]
    assert min(found.values()) > 900
    assert set(shard_numbers(ordinals, False, 1, 1000).tolist()) == {0}
    assert shard_numbers(np.array([2**64 - 1], np.uint64), False, 10**9, 1).tolist() == [10**9 - 1]


def test_a_shard_keeps_what_is_replaced(plan: Planner) -> None:
    other = ImageReference("/p/b.jpg", "1-2")
    planned = plan([other, CAT], stored=other._replace(fingerprint="0"))
    shard = PlannedShard("x", 2, ((planned.todo, 0, 2),)).load()
    assert shard.references == (CAT, other)
    assert shard.replaced_ids == (other.image_id,)
    assert PlannedShard("x", 1, ((planned.todo, 1, 1),)).load().references[0] == todo(planned)[1][0]


def test_shard_size_must_be_positive() -> None:
    with pytest.raises(OptionError, match="--shard-size must be positive, got 0"):
        PlanShards(purpose="x", directory="/nowhere", shard_size=0)


def run_plan(manifest: Path, tmp_path: Path, name: str) -> tuple[list[Shard], dict[str, int]]:
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(BEAM_FLAGS)) as pipeline:
        listed = pipeline | beam.Create(recognise(str(manifest))) | ListImages()
        shards, planned, _ = listed | PlanShards(purpose="x", directory=f"{tmp_path}/{name}", shard_size=100)
        for label, collection in (("shards", shards), ("counts", planned)):
            lines = collection | f"Json{label}" >> beam.Map(json.dumps)
            _ = lines | f"Write{label}" >> beam.io.WriteToText(str(tmp_path / f"{name}-{label}"), num_shards=1)
    (found,) = tmp_path.glob(f"{name}-shards*")
    (tally,) = tmp_path.glob(f"{name}-counts*")
    planned_shards = [PlannedShard(*json.loads(line)) for line in found.read_text().splitlines()]
    assert all(len(shard.load().references) == shard.images for shard in planned_shards)
    loaded = sorted(shard.load() for shard in planned_shards)
    return loaded, dict(map(json.loads, tally.read_text().splitlines()))


def test_the_plan_of_a_pipeline_is_the_same_however_it_is_cut_into_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "m.csv"
    rows = [f"{n}.jpg,cat\n" for n in range(250)] + ["7.jpg,dog\n"]
    manifest.write_text("uri,label\n" + "".join(rows))
    shards, planned = run_plan(manifest, tmp_path, "first")
    assert planned == {"listed": 251, "new": 251}
    assert sum(len(shard.references) for shard in shards) == 251
    assert len(shards) == 3
    monkeypatch.setattr(runs, "RUN_ROWS", 40)
    monkeypatch.setattr(runs, "GROUP_ROWS", 8)
    monkeypatch.setattr(planning, "GROUP_ROWS", 8)
    monkeypatch.setattr(runs, "RANGE_ROWS", 30)
    manifest.write_text("uri,label\n" + "".join(reversed(rows)))
    assert run_plan(manifest, tmp_path, "second") == (shards, planned)
    assert len(list((tmp_path / "second").iterdir())) > 10


def member(ordinal: int, container: str = "/p/a.tar", sequential: bool = False) -> ImageReference:
    place = tuple(Member(container, "webdataset", ordinal, 512 * ordinal, 9, sequential=sequential))
    return ImageReference(f"{container}#{ordinal}.jpg", place=place)


def test_members_of_a_container_fall_into_runs_of_neighbours(plan: Planner) -> None:
    listed = [member(n) for n in range(25)] + [member(n, "/p/b.tar") for n in range(5)]
    for total in (30, 1_000_000):  # whatever else is planned
        places = [[one.place[:3:2] for one in shard.references] for shard in plan.shards(listed, 10, total)]
        assert places == [
            [("/p/a.tar", n) for n in range(10)],
            [("/p/a.tar", n) for n in range(10, 20)],
            [("/p/a.tar", n) for n in range(20, 25)],
            [("/p/b.tar", n) for n in range(5)],
        ]
    assert len(plan.shards([member(n, sequential=True) for n in range(25)], 10)) == 1


def test_a_member_that_did_not_change_is_not_read_again(plan: Planner) -> None:
    reference = member(3)._replace(fingerprint="9-1@512+9")
    assert plan([reference], stored=reference._replace(place=())).counts == {"listed": 1, "reused": 1}


def test_the_same_member_twice_is_one_row_and_one_dead_letter(plan: Planner) -> None:
    first = member(3)
    second = first._replace(place=member(7).place)
    planned = todo(plan([second, first]))
    assert [(one.problem.partition(":")[0], one.place[2]) for one, _ in planned] == [("", 3), ("DUPLICATE_ID", 7)]


def test_odd_names_find_their_rows_again(plan: Planner) -> None:
    """The store writes what is no UTF-8 with backslashes."""
    for uri in ("/p/\udcff.jpg", "/p/\udcff.tar#a.jpg", "/p/a#b.jpg"):
        stored = ImageReference(uri.encode("utf-8", "backslashreplace").decode(), "1-1")
        known = table([known_row(stored, ImageReference(uri).image_id, "content", (), None)], KNOWN_SCHEMA)
        listed = table([listed_row(ImageReference(uri, "1-1"))], LISTED_SCHEMA)
        assert plan_range(listed, known, None, plan.directory).counts == {"listed": 1, "reused": 1}

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from transforms.errors import OptionError
from transforms.list_images import ListImages
from transforms.plan_shards import COUNTED, GONE, TODO, KnownImage, PlanShards, cut_shard, plan_image, shard_key
from transforms.shards.shard import Shard
from transforms.sources.dialects import recognise
from transforms.sources.reference import ImageReference, Member
from transforms.sources.split import SplitRatios

CAT = ImageReference("/p/a.jpg", "1-1", ("cat",))


def plan(listed: list[ImageReference], stored: ImageReference | None = None, split: str = "train") -> list[Any]:
    known = []
    if stored is not None:
        known = [tuple(KnownImage(stored.uri, stored.fingerprint, stored.metadata_digest, split, "content"))]
    return list(plan_image([reference.pack() for reference in listed], known, ["/p/"]))


def counts(planned: list[Any]) -> dict[str, int]:
    return dict(collections.Counter(value for tag, value in planned if tag == COUNTED))


def todo(planned: list[Any]) -> list[tuple[ImageReference, bool]]:
    return [(ImageReference.unpack(value[0]), value[1]) for tag, value in planned if tag == TODO]


def test_a_new_image_is_to_be_done() -> None:
    planned = plan([CAT])
    assert counts(planned) == {"listed": 1, "new": 1}
    assert todo(planned) == [(CAT, False)]


def test_an_unchanged_image_costs_nothing() -> None:
    planned = plan([CAT], stored=CAT)
    assert counts(planned) == {"listed": 1, "reused": 1}
    assert todo(planned) == []


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
def test_what_changed_since(now: ImageReference, state: str) -> None:
    planned = plan([now], stored=CAT)
    assert counts(planned) == {"listed": 1, state: 1}
    assert todo(planned) == ([] if state == "reused" else [(now, True)])


def test_a_new_division_relabels_what_falls_elsewhere() -> None:
    known = [tuple(KnownImage(CAT.uri, CAT.fingerprint, CAT.metadata_digest, "train", "content"))]
    for text, state in (("100/0/0", "reused"), ("0/0/100", "relabelled")):
        planned = list(plan_image([CAT.pack()], known, [], SplitRatios.parse(text)))
        assert counts(planned) == {"listed": 1, state: 1}


def test_an_image_that_is_gone_counts_as_removed_below_the_roots_only() -> None:
    assert plan([], stored=CAT) == [(COUNTED, "removed"), (GONE, CAT.image_id)]
    assert counts(plan([], stored=CAT._replace(uri="/other/a.jpg"))) == {}
    assert counts(plan([], stored=CAT._replace(uri="/pp/a.jpg"))) == {}


def test_the_same_entry_twice_is_one_image() -> None:
    assert counts(plan([CAT, CAT])) == {"listed": 1, "new": 1}


def test_the_same_image_with_two_labels_is_one_row_and_one_dead_letter() -> None:
    planned = plan([CAT, CAT._replace(labels=("dog",))])
    assert counts(planned) == {"listed": 2, "new": 2}
    (first, _), (second, _) = todo(planned)
    assert (first.labels, first.problem) == (("cat",), "")
    assert second.problem.startswith("DUPLICATE_ID: /p/a.jpg is listed 2 times")


def test_an_entry_with_a_problem_is_to_be_done_whatever_is_known() -> None:
    bad = CAT._replace(problem="BAD_ROW: x")
    assert todo(plan([bad], stored=CAT)) == [(bad, False)]


def test_shard_keys_cover_the_range_evenly() -> None:
    entries = [(ImageReference(f"/p/{n}").pack(), False) for n in range(4000)]
    found = collections.Counter(shard_key(entry, 4000, 1000) for entry in entries)
    assert sorted(found) == ["0", "1", "2", "3"]
    assert min(found.values()) > 900
    assert {shard_key(entry, 1, 1000) for entry in entries} == {"0"}


def test_cut_shard_keeps_what_is_replaced() -> None:
    other = ImageReference("/p/b.jpg")
    shard = Shard.unpack(cut_shard([(other.pack(), True), (CAT.pack(), False)], "x"))
    assert shard.references == (CAT, other)
    assert shard.replaced_ids == (other.image_id,)


def test_shard_size_must_be_positive() -> None:
    with pytest.raises(OptionError, match="--shard-size must be positive, got 0"):
        PlanShards(purpose="x", shard_size=0)


def test_the_plan_of_a_pipeline_is_the_same_twice(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("uri,label\n" + "".join(f"{n}.jpg,cat\n" for n in range(250)) + "7.jpg,dog\n")

    def run(name: str) -> tuple[list[Any], dict[str, int]]:
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            listed = pipeline | beam.Create(recognise(str(manifest))) | ListImages()
            shards, planned, _ = listed | PlanShards(purpose="x", shard_size=100)
            for label, collection in (("shards", shards), ("counts", planned)):
                lines = collection | f"Json{label}" >> beam.Map(json.dumps)
                _ = lines | f"Write{label}" >> beam.io.WriteToText(str(tmp_path / f"{name}-{label}"), num_shards=1)
        (found,) = tmp_path.glob(f"{name}-shards*")
        (tally,) = tmp_path.glob(f"{name}-counts*")
        return sorted(map(json.loads, found.read_text().splitlines())), dict(
            map(json.loads, tally.read_text().splitlines())
        )

    shards, planned = run("first")
    assert (shards, planned) == run("second")
    assert planned == {"listed": 251, "new": 251}
    assert [len(shard[1]) for shard in shards] != []
    assert sum(len(shard[1]) for shard in shards) == 251
    assert len(shards) == 3


def member(ordinal: int, container: str = "/p/a.tar", sequential: bool = False) -> tuple[tuple[Any, ...], bool]:
    place = tuple(Member(container, "webdataset", ordinal, 512 * ordinal, 9, sequential=sequential))
    return ImageReference(f"{container}#{ordinal}.jpg", place=place).pack(), False


def test_members_of_a_container_fall_into_runs_of_neighbours() -> None:
    entries = [member(n) for n in range(25)] + [member(n, "/p/b.tar") for n in range(5)]
    for total in (30, 1_000_000):  # whatever else is planned
        assert collections.Counter(shard_key(entry, total, 10) for entry in entries) == {
            "/p/a.tar#0": 10,
            "/p/a.tar#1": 10,
            "/p/a.tar#2": 5,
            "/p/b.tar#0": 5,
        }
    assert {shard_key(member(n, sequential=True), 25, 10) for n in range(25)} == {"/p/a.tar#0"}


def test_a_shard_of_members_is_in_the_order_of_the_container() -> None:
    entries = [member(n) for n in (10, 9, 2, 100)]
    shard = Shard.unpack(cut_shard(entries, "x"))
    assert [reference.member.ordinal for reference in shard.references if reference.member] == [2, 9, 10, 100]
    assert shard == Shard.unpack(cut_shard(entries[::-1], "x"))


def test_a_member_that_did_not_change_is_not_read_again() -> None:
    reference = ImageReference.unpack(member(3)[0])._replace(fingerprint="9-1@512+9")
    assert counts(plan([reference], stored=reference._replace(place=()))) == {"listed": 1, "reused": 1}


def test_the_same_member_twice_is_one_row_and_one_dead_letter() -> None:
    first = ImageReference.unpack(member(3)[0])
    second = first._replace(place=member(7)[0][-2])
    planned = todo(plan([second, first]))
    assert [(one.problem.partition(":")[0], one.place[2]) for one, _ in planned] == [("", 3), ("DUPLICATE_ID", 7)]

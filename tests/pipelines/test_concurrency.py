"""Whole commands at one table at once: embeds, a retraction, and readers of several tools throughout."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from tests.photographs import write_folder
from tests.pipelines.test_embed import ROOT, command, features, run
from transforms.store import open_features
from transforms.store.catalog import open_table
from transforms.store.verify import verify_table

SMALL = ["--image-size", 32, "--shard-size", 20]


def by_dataset(store: Path, _: str) -> list[str]:
    found: list[str] = open_features(str(store)).arrow_dataset().to_table(["image_uri"])["image_uri"].to_pylist()
    return found


def by_numpy(store: Path, _: str) -> list[str]:
    found = open_features(str(store)).numpy(["image_uri"])
    assert len(found.embeddings) == len(found.image_uris)
    return found.image_uris


def by_polars(_: Path, table: str) -> list[str]:
    found: list[str] = pl.scan_delta(table).select("image_uri").collect()["image_uri"].to_list()
    return found


def by_duckdb(_: Path, table: str) -> list[str]:
    files = DeltaTable(table).file_uris()
    rows = duckdb.execute("SELECT image_uri FROM read_parquet($files)", {"files": files}).fetchall()
    return [uri for (uri,) in rows]


READERS: tuple[Callable[[Path, str], list[str]], ...] = (by_dataset, by_numpy, by_polars, by_duckdb)


def uris(folder: Path) -> set[str]:
    return set(map(str, folder.glob("*/*.jpg")))


def check_whole(found: Collection[str], runs: Collection[set[str]]) -> None:
    """No image twice, and of each run all or nothing."""
    assert len(set(found)) == len(found), "an image has two rows"
    for images in runs:
        assert not images & set(found) or images <= set(found), "half a run"


def test_two_embeds_and_a_retraction_with_readers_throughout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    old, first, second = (
        write_folder(tmp_path / name, per_label=count, first_seed=seed)
        for name, count, seed in (("old", 10, 0), ("first", 40, 200), ("second", 40, 400))
    )
    run(capsys, "--input", old, "--store", store, *SMALL)
    (table,) = map(str, store.iterdir())
    retracted = set(map(str, (old / "disc").iterdir()))
    kept = uris(old) - retracted
    embeds = [command("--input", folder, "--store", store, *SMALL) for folder in (first, second, first)]
    retraction = [sys.executable, "-m", "pipelines.store", "retract", "--store", str(store)]
    retraction += [word for uri in sorted(retracted) for word in ("--image-uri", uri)]
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(call, **quiet) for call in (*embeds, retraction)]  # type: ignore[call-overload]
    for seen, reader in enumerate(itertools.cycle(READERS)):
        if all(child.poll() is not None for child in children) and seen >= 2 * len(READERS):
            break
        found = reader(store, table)
        check_whole(found, [uris(first), uris(second), retracted])
        assert kept <= set(found)
    assert [child.wait() for child in children] == [0] * 4, [child.stderr.read() for child in children]
    assert sorted(features(store).image_uris) == sorted(kept | uris(first) | uris(second))
    assert verify_table(open_table(str(store))).problems == ()

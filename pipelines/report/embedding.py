"""The report of ``heliograph embed``: what a run put into the table, what failed, what stands out, and what it took."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.report.drift import Drift, measure_drift
from pipelines.report.page import Card, Page, Section
from pipelines.report.projection import POINTS
from pipelines.report.sections.contents import contents
from pipelines.report.sections.dead_letters import EMBEDDING, dead_letters
from pipelines.report.sections.drift import FAR, describe_drift, drifted
from pipelines.report.sections.embedding_map import embedding_map
from pipelines.report.sections.near_duplicates import Pair, find_pairs, near_duplicates
from pipelines.report.sections.reproduce import RunFacts, reproduce
from pipelines.report.sections.throughput import throughput
from pipelines.report.table_sample import LabelCounts, count_labels, files_of_commit, sample_rows
from pipelines.report.verdict import CHANCE, percent
from transforms.files.filesystem import open_filesystem
from transforms.measures.remarks import plural
from transforms.store.dead_letters import read_dead_letters
from transforms.store.read import Features
from transforms.store.table import FeatureTable

COMPARED = 1000
"""New images that are compared with each other and with as many earlier ones."""

EXAMPLES = 5
"""Dead letters of a class that are shown."""

LEAST_NEW = 0.02
"""Share of a table's rows that a run adds at least to get a map; with fewer it is the map of the run before."""

PICTURES = 80
"""Points of the map with a thumbnail."""

CONTAINER_BYTES = 300_000_000
"""Of a larger tar, zip or Parquet file no thumbnails are shown: to find them takes reading it."""

_LETTERS_READ = 100_000
_ATTRIBUTES, _VALUES = 3, 12  # that the map can be coloured by, and different values of one


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Look:
    """What is seen of a table after a run.

    Attributes:
      counts: of all rows.
      counts_of_run: of those that the run added.
      earlier: some rows that the table had before.
      new: some rows that the run added.
      drift: of ``new`` against the rows before it.
      pairs: of ``new``.
    """

    counts: LabelCounts
    counts_of_run: LabelCounts
    earlier: Features
    new: Features
    drift: Drift | None
    pairs: Sequence[Pair]


def embedding_page(record: Mapping[str, Any], facts: RunFacts) -> Page:
    """Looks at a bounded part of the table that a run has written to, and returns the page.

    Args:
      record: of the run.
      facts: the rest.
    """
    seen = _look(record)
    labels, new_rows = _labels(seen.new), max(seen.counts_of_run.rows, len(seen.new.image_uris))
    return Page(
        run_id=facts.run_id,
        title=f"Embedding: {plural(record['embedded'], 'image')}",
        kicker=f"Embedding with {record['encoder']} into {record['table']}, {facts.made_at}",
        verdict=_verdict(record),
        against=[describe_drift(seen.drift)] if seen.drift else [],
        cards=_cards(record, seen),
        advice=_advice(record, seen, labels),
        sections=[
            contents(seen.counts, seen.counts_of_run, record["plan"]),
            dead_letters(record["failures"], _reasons(record), EMBEDDING),
            _affordable(_map(seen)),
            _affordable(near_duplicates(seen.pairs, seen.new.image_uris, labels, seen.new.splits, new_rows)),
            _affordable(drifted(seen.drift, seen.new.image_uris, labels)),
            throughput(record, "embedded"),
            reproduce(facts, _how(record)),
        ],
        footer=f"The same counts stand in {record['run_id']}.json beside this page.",
    )


def _look(record: Mapping[str, Any]) -> _Look:
    table = FeatureTable.open(record["table"], record["table_version"])
    dimension = table.specification.dimension
    added, before = files_of_commit(table)
    files = table.data_files()
    run_id = None if record["resumed"] else record["run_id"]  # parts of an earlier run have its name
    new = sample_rows(added, dimension, COMPARED, run_id)
    earlier = sample_rows(before, dimension, COMPARED)
    return _Look(
        counts=count_labels(files),
        counts_of_run=count_labels(added, run_id=run_id),
        earlier=earlier,
        new=new,
        drift=measure_drift(earlier.embeddings, new.embeddings),
        pairs=find_pairs(new.embeddings),
    )


def _verdict(record: Mapping[str, Any]) -> str:
    reused = f", {record['reused']:,} were there already" if record["reused"] else ""
    share = record["failed"] / max(record["listed"], 1)
    failed = f"{record['failed']:,} ({percent(share)}) could not be embedded" if record["failed"] else "none failed"
    embedded = f"{plural(record['embedded'], 'image')} {'was' if record['embedded'] == 1 else 'were'} embedded"
    return f"Of {record['listed']:,} listed, {embedded}{reused}, {failed}."


def _cards(record: Mapping[str, Any], seen: _Look) -> list[Card]:
    cards = [
        Card(name="Embedded", value=f"{record['embedded']:,}", note=f"of {record['listed']:,} listed"),
        Card(name="Failed", value=f"{record['failed']:,}", note="dead letters, by class below"),
        Card(name="In the table", value=f"{seen.counts.total:,}", note=f"rows, version {record['table_version']}"),
        Card(name="Speed", value=f"{record['images_per_second']:,.0f}/s", note="images, from listing to publishing"),
        Card(name="Peak memory", value=f"{record['peak_memory_mb']:,.0f} MB", note="of one process"),
    ]
    if seen.drift:
        cards.append(Card(name="Drift", value=f"{seen.drift.distance:.3f}", note="energy distance, 0 to 1"))
    return cards


def _advice(record: Mapping[str, Any], seen: _Look, labels: Sequence[str]) -> list[tuple[str, str]]:
    advice = []
    if record["failed"]:
        name, number = max(record["failures"].items(), key=lambda entry: (entry[1], entry[0]))
        advice.append((f"Look at the {plural(number, 'image')} of class “{name}”, then run heliograph retry.", "dead"))
    contradicting = sum(labels[first] != labels[second] for first, second, _ in seen.pairs)
    if contradicting:
        pairs = plural(contradicting, "pair")
        advice.append((f"Settle the labels of {pairs} of near duplicates that contradict each other.", "duplicates"))
    if seen.drift and seen.drift.p_value < CHANCE and seen.drift.distance >= FAR:
        advice.append(("Score the new images with the model in use before you trust it on them.", "drift"))
    unlabelled = dict(seen.counts.labels()).get("", 0)
    if unlabelled:
        advice.append((f"{plural(unlabelled, 'image')} without a label: heliograph score gives one.", "contents"))
    advice.append(("heliograph train --store STORE --model MODEL fits a head on these features.", ""))
    return advice


def _map(seen: _Look) -> Section | None:
    """New and earlier images in the proportion that they have in the table; None where hardly any is new."""
    every = max(seen.counts.rows, 1)
    if seen.earlier.image_uris and seen.counts_of_run.rows < LEAST_NEW * every:
        return None
    wanted = POINTS if not seen.earlier.image_uris else min(-(-POINTS * seen.counts_of_run.rows // every), POINTS)
    new = list(range(len(seen.new.image_uris)))[:wanted]
    earlier = list(range(len(seen.earlier.image_uris)))[: POINTS - len(new)]
    parts = [(seen.new, new), (seen.earlier, earlier)]

    def column(values: Callable[[Features], Sequence[Any]]) -> list[Any]:
        return [found for features, rows in parts if rows for found in map(values(features).__getitem__, rows)]

    if not new and not earlier:
        return None
    colours = {"label": column(_labels), "split": column(lambda features: features.splits)}
    if new and earlier:
        colours["run"] = ["this run"] * len(new) + ["earlier"] * len(earlier)
    attributes = column(lambda features: features.attributes)
    for name in _telling(attributes):
        colours[name] = [found.get(name, "") for found in attributes]
    vectors = np.concatenate([features.embeddings[rows] for features, rows in parts if rows])
    return embedding_map(vectors, column(lambda features: features.image_uris), colours, every, PICTURES)


def _telling(attributes: Sequence[Mapping[str, str]]) -> list[str]:
    """Names of attributes with few values."""
    values: dict[str, set[str]] = collections.defaultdict(set)
    for found in attributes:
        for name, value in found.items():
            values[name].add(value)
    return sorted(name for name, found in values.items() if 1 < len(found) <= _VALUES)[:_ATTRIBUTES]


def _affordable(section: Section | None) -> Section | None:
    """Returns a section without the pictures that lie in large containers."""
    if section is None:
        return None
    containers = {uri.rpartition("#")[0] for uri in section.images if "#" in uri}
    large = {container for container in containers if _size(container) > CONTAINER_BYTES}
    images = [uri for uri in section.images if uri.rpartition("#")[0] not in large]
    return dataclasses.replace(section, images=images)


def _size(address: str) -> int:
    filesystem, path = open_filesystem(address)
    return filesystem.get_file_info(path).size or 0


def _labels(features: Features) -> list[str]:
    return ["|".join(labels) for labels in features.labels]


def _reasons(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """Some dead letters of each class of the run."""
    found: dict[str, list[dict[str, str]]] = collections.defaultdict(list)
    read = 0
    for batch in read_dead_letters(record["table"]):
        read += len(batch)
        for row in batch.select(["run_id", "error_class", "error_message", "image_uri"]).to_pylist():
            if row.pop("run_id") == record["run_id"] and len(found[row["error_class"]]) < EXAMPLES:
                found[row["error_class"]].append(row)
        if read >= _LETTERS_READ:
            break
    return [row for name in sorted(found) for row in found[name]]


def _how(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Input": ", ".join(record["configuration"]["input"]),
        "Table": f"{record['table']}, version {record['table_version']}",
        "Encoder": f"{record['encoder']}, fingerprint {record['encoder_fingerprint']}",
    }

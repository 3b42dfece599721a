"""The flow that is compared: a local reference run, then the same on the runner under test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from pipelines.command_calls import call_command
from pipelines.run_record import read_run_record
from pipelines.same_answer.collection import Collection, write_collection
from pipelines.same_answer.compare import Check, Row, json_differences, row_differences
from transforms.files.filesystem import join, open_filesystem
from transforms.store.dead_letters import read_dead_letters
from transforms.store.reader import open_features

RUN_COLUMNS = ("run_id", "event_timestamp", "created", "scored_at")
"""What differs from run to run by its nature."""
COUNTED = ("listed", "embedded", "scored", "reused", "failed", "copied", "plan", "failures", "classes")
METRICS_TOLERANCE = 1e-9
ALL_MAY_FAIL = ("--max-failures", "100%")
"""A few good images are fewer than the bad ones."""

OTHERWISE = ("--shard-size", "7", "--batch-size", "3")
"""Flags of the runs under test: what they cut and batch must not show in the answer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flow:
    """What is run and compared.

    Attributes:
      directory: address of an empty directory that all workers reach.
      images: good ones, drawn.
      encoder: flags of the encoder.
      model: to score with; trained on the reference's features when it is None.
      tolerance: of vectors and confidences, relative to the largest value of a vector where that is above 1.
      beam_args: Beam's flags for the runs under test.
    """

    directory: str
    images: int
    encoder: tuple[str, ...]
    model: str | None
    tolerance: float
    beam_args: tuple[str, ...]

    def run(self) -> Iterator[Check]:
        """Runs all of it, and yields what was compared."""
        collection = write_collection(join(self.directory, "collection"), self.images)
        yield from self._embed(collection)
        model = self.model or self._train()
        yield from self._score(collection, model)
        yield from self._evaluate()

    def _call(self, side: str, step: str, *words: str) -> dict[str, Any]:
        tested = side == "tested"
        how = "with the runner under test" if tested else "here, for reference"
        return call_command([step, *words, *(self.beam_args if tested else ())], instead=f"{step}: {how}")

    def _place(self, side: str, name: str) -> str:
        return join(self.directory, side, name)

    def _embed(self, collection: Collection) -> Iterator[Check]:
        calls = {
            side: ("--store", self._place(side, "store"), "--no-report", *self.encoder, *words)
            for side, words in _images_of(collection).items()
        }
        records = {side: self._call(side, "embed", *words) for side, words in calls.items()}
        yield from self._compare_counts("embed", records, len(collection.rows))
        tables = {side: records[side]["table"] for side in records}
        rows = {side: _feature_rows(self._place(side, "store")) for side in records}
        yield Check.of("embed", f"{len(collection.rows)} rows against what was drawn", _against_facts(collection, rows))
        yield from self._compare_rows("embed", rows, "embedding")
        letters = {
            side: [row for batch in read_dead_letters(table) for row in batch.to_pylist()]
            for side, table in tables.items()
        }
        yield from _compare_letters("embed", letters, collection)
        again = self._call("tested", "embed", *calls["tested"])
        expected = {"embedded": 0, "reused": len(collection.rows), "failed": len(collection.letters)}
        found = {name: again[name] for name in expected}
        yield Check.of("embed again", "nothing is embedded twice", json_differences(expected, found, 0.0))
        same = row_differences(rows["tested"], _feature_rows(self._place("tested", "store")), key="image_uri")
        yield Check.of("embed again", "the rows, bitwise", same)

    def _train(self) -> str:
        model = self._place("reference", "model")
        store = self._place("reference", "store")
        self._call("reference", "train", "--store", store, "--model", model, "--train-epochs", "20")
        return model

    def _score(self, collection: Collection, model: str) -> Iterator[Check]:
        for step, sources in (
            ("score", _images_of(collection)),
            ("score stored", dict.fromkeys(("reference", "tested"), ("--store", self._place("reference", "store")))),
        ):
            outputs = {side: self._place(side, step.replace(" ", "-")) for side in sources}
            records = {
                side: self._call(side, "score", *words, "--model", model, "--output", outputs[side])
                for side, words in sources.items()
            }
            yield from self._compare_counts(step, records, len(collection.rows) if step == "score" else 0)
            read = {side: _parts(outputs[side], records[side]["files"]) for side in records}
            yield from self._compare_rows(step, {side: rows for side, (rows, _) in read.items()}, "confidences")
            if step == "score":
                yield from _compare_letters(step, {side: letters for side, (_, letters) in read.items()}, collection)

    def _evaluate(self) -> Iterator[Check]:
        predictions = self._place("reference", "score")
        metrics = {}
        for side in ("reference", "tested"):
            output = self._place(side, "report")
            self._call(side, "evaluate", "--predictions", predictions, "--output", output, "--slice", "site")
            metrics[side] = read_run_record(join(output, "metrics.json"))
        yield Check.of(
            "evaluate",
            f"metrics, numbers within {METRICS_TOLERANCE:g}",
            json_differences(metrics["reference"], metrics["tested"], METRICS_TOLERANCE, ignored=("run_id",)),
        )

    def _compare_rows(self, step: str, rows: Mapping[str, Sequence[Row]], vectors: str) -> Iterator[Check]:
        expected, found = rows["reference"], rows["tested"]
        close = {vectors: self.tolerance, "brightness": self.tolerance}
        exact = row_differences(expected, found, key="image_uri", ignored=(*RUN_COLUMNS, *close))
        yield Check.of(step, f"{len(expected)} rows, all but {vectors}, bitwise", exact)
        narrowed = [{name: row[name] for name in ("image_uri", *close) if name in row} for row in expected]
        near = row_differences(narrowed, found, key="image_uri", close=close)
        yield Check.of(step, f"{vectors} within {self.tolerance:g}", near)

    def _compare_counts(self, step: str, records: Mapping[str, Mapping[str, Any]], inferences: int) -> Iterator[Check]:
        expected, found = ({n: record[n] for n in COUNTED if n in record} for record in records.values())
        what = f"counts of the run record: {', '.join(expected)}"
        yield Check.of(step, what, json_differences(expected, found, 0.0))
        done = expected["embedded" if "embedded" in expected else "scored"]
        counters = {"images-read": done + expected["copied"], "images-failed": expected["failed"]}
        if inferences and not self._repeats:
            counters["num_inferences"] = inferences
        told = records["tested"]["counters"]
        sums = {name: told.get(name, 0) for name in counters}
        differences = json_differences(counters, sums, 0.0) if told else iter(())
        check = Check.of(step, f"counters {', '.join(counters)}", differences)
        yield dataclasses.replace(check, told=bool(told))

    @property
    def _repeats(self) -> bool:
        """Whether each bundle is done twice: the second time its shards are found done, and nothing is inferred."""
        return PipelineOptions(list(self.beam_args)).view_as(DirectOptions).direct_runner_bundle_repeat > 0


def _images_of(collection: Collection) -> dict[str, tuple[str, ...]]:
    """Returns the flags that name the images to each side, to the tested one in another order and cut otherwise."""
    return {"reference": _inputs(collection.inputs), "tested": (*_inputs(collection.reordered), *OTHERWISE)}


def _inputs(addresses: Sequence[str]) -> tuple[str, ...]:
    return (*(word for address in addresses for word in ("--input", address)), *ALL_MAY_FAIL)


def _feature_rows(store: str) -> list[Row]:
    return [row for batch in open_features(store).batches() for row in batch.to_pylist()]


def _parts(output: str, files: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """Returns predictions and dead letters of a scoring run."""
    found: dict[str, list[Row]] = {"predictions": [], "errors": []}
    for name in files:
        kind = name.partition("_")[0]
        if name.endswith(".parquet"):
            filesystem, path = open_filesystem(join(output, name))
            found[kind] += pq.read_table(path, filesystem=filesystem, partitioning=None).to_pylist()
    return found["predictions"], found["errors"]


def _against_facts(collection: Collection, rows: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    expected = [{"image_uri": uri, **facts} for uri, facts in collection.rows.items()]
    return row_differences(expected, rows["tested"], key="image_uri")


def _compare_letters(step: str, letters: Mapping[str, Sequence[Row]], collection: Collection) -> Iterator[Check]:
    facts = [{"image_uri": uri, "error_class": reason} for uri, reason in collection.letters.items()]
    drawn = row_differences(facts, letters["tested"], key="image_uri")
    yield Check.of(step, f"{len(facts)} dead letters against what was drawn", drawn)
    same = row_differences(letters["reference"], letters["tested"], key="image_uri", ignored=RUN_COLUMNS)
    yield Check.of(step, f"{len(letters['reference'])} dead letters, bitwise", same)

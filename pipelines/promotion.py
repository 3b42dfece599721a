"""Whether a candidate is worse than the version in use: both classify the same held-back images, and are compared."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipelines import inputs, runner
from pipelines.graphs import ScoreConfiguration
from pipelines.report.verdict import CHANCE
from pipelines.run_record import new_run_id
from transforms.compare_predictions import ComparePredictions
from transforms.errors import InputError
from transforms.files.filesystem import absolute
from transforms.measure_predictions import ReadPredictions
from transforms.measures.files import list_prediction_files
from transforms.measures.preview import check_predictions
from transforms.measures.search import holm
from transforms.measures.slices import MeasureOptions
from transforms.model.directory import ModelDirectory
from transforms.shards.predictor import ScoreOptions
from transforms.sources.dialects import Source, roots_of

ALL = "all images"


def compare_models(current: ModelDirectory, candidate: ModelDirectory, flags: argparse.Namespace) -> dict[str, Any]:
    """Scores the images of ``--input`` with both versions and compares them image by image.

    Args:
      current: that the alias names.
      candidate: that it shall name.
      flags: ``input``, ``slice``, ``largest_loss``, and those of inputs.add_source_flags.

    Returns:
      ``table`` as judge gives it, the versions, inputs and what was demanded; of JSON types.

    Raises:
      InputError: no image that both versions classified has a label.
    """
    sources = inputs.given_input(flags).recognise()
    slices = tuple(flags.slice or ())
    with tempfile.TemporaryDirectory() as directory:
        outputs = [os.path.join(directory, name) for name in ("current", "candidate")]
        _score(current, sources, flags, outputs[0])
        several = check_predictions(list_prediction_files(outputs[0]), slices)
        _score(candidate, sources, flags, outputs[1])
        options = MeasureOptions(slices=slices, multi_label=several)
        comparison = _compare(outputs, options, os.path.join(directory, "comparison.json"))
    if not comparison["rows"]:
        raise InputError(f"no image of {', '.join(flags.input)} was classified by both versions; look at its images")
    return {
        "current": current.version,
        "candidate": candidate.version,
        "input": [absolute(name) for name in flags.input],
        "largest_loss": flags.largest_loss,
        "table": judge(comparison, flags.largest_loss),
    }


def judge(comparison: Mapping[str, Any], largest_loss: float | None = None) -> list[dict[str, Any]]:
    """Returns all images and each slice, with the accuracies, their difference and whether the candidate is worse.

    Worse is: right less often, by more than chance explains (McNemar's test; p-values of slices are adjusted by Holm's
    method); or, with a largest loss, a 95 % interval of the difference that reaches below it (of slices: those that
    are not marked as small).

    Args:
      comparison: as ComparePredictions gives it, the current version first.
      largest_loss: share of accuracy that may be lost.
    """
    slices = [(f"{name} = {e['value']}", e) for name, entries in comparison["slices"].items() for e in entries]
    adjusted = holm([entry["overall"]["p_value"] for _, entry in slices])
    compared = [(ALL, comparison["overall"], comparison["overall"]["p_value"], False)]
    compared += [(name, e["overall"], p, e["small"]) for (name, e), p in zip(slices, adjusted, strict=True)]
    table = []
    for name, pair, p_value, small in compared:
        beyond = pair["difference"] < 0 and p_value < CHANCE
        too_far = largest_loss is not None and not small and pair["difference_interval"][0] < -largest_loss
        table.append(
            {
                "images": name,
                "rows": pair["rows"],
                "current": pair["first_accuracy"],
                "candidate": pair["second_accuracy"],
                "difference": pair["difference"],
                "interval": pair["difference_interval"],
                "p_value": p_value,
                "worse": beyond or too_far,
            }
        )
    return table


def _score(model: ModelDirectory, sources: Sequence[Source], flags: argparse.Namespace, output: str) -> None:
    run_id = new_run_id(None)
    score = ScoreOptions(
        model=model.path,
        output=output,
        run_id=run_id,
        roots=roots_of(sources),
        formats=("parquet",),
        threads=flags.threads or 0,
        timeout_seconds=flags.image_timeout,
        trust_model=flags.trust_model,
    )
    configuration = ScoreConfiguration(
        **vars(inputs.given_input(flags)),
        store=None,
        version=None,
        model=model.path,
        output=output,
        max_failures=flags.max_failures,
        shard_size=1000,
        run_id=run_id,
        score=score,
    )
    too_many = configuration.graph(sources, model, None, time.time()).run(()).too_many
    if too_many is not None:
        raise too_many


def _compare(outputs: Sequence[str], options: MeasureOptions, path: str) -> dict[str, Any]:
    """Compares two directories of predictions, the labels being the first's; ``path`` is for the result."""

    def build(pipeline: beam.Pipeline) -> None:
        first, second = (
            pipeline
            | f"Create{side}" >> beam.Create(list_prediction_files(output))
            | f"Read{side}" >> ReadPredictions()
            for side, output in zip(("Current", "Candidate"), outputs, strict=True)
        )
        comparison = (first, second) | ComparePredictions(options=options, first="current", second="candidate")
        _ = comparison | "Keep" >> beam.Map(lambda found: Path(path).write_text(json.dumps(found)))

    runner.run_pipeline(build, ())
    found: dict[str, Any] = json.loads(Path(path).read_text())
    return found if options.slices else found | {"slices": {}}

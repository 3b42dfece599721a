"""Before and after: the gap between subgroups that remedies closed, and the accuracy that it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.features import Examples, Splits
from pipelines.training.mindiff import positive_column
from transforms.measures.batch import Floats
from transforms.measures.bootstrap import generator, intervals, replicates, share_intervals
from transforms.measures.evaluation import null_for_nan
from transforms.measures.slices import MeasureOptions
from transforms.model.head import Head

RATES = ("false_positive_rate", "false_negative_rate")
_DRAWS = 1000
_SHOWN, _MANY = 4, 20  # subgroups in a table and in a sentence

Stage = tuple[str, Head]


def compare_stages(
    stages: Sequence[Stage], splits: Splits, attributes: Sequence[str], label: str
) -> list[dict[str, Any]]:
    """Returns the figures of every split that was not trained on, attribute and class, for metrics.json.

    Args:
      stages: a name and a head each; the first one is before, the last one after.
      splits: with these attributes.
      attributes: that make subgroups.
      label: the class whose errors are compared; empty for the second of two, or for each of more.
    """
    labels = splits.labels
    columns = range(len(labels)) if len(labels) > 2 and not label else [positive_column(labels, label)]
    parts = {name: getattr(splits, name) for name in ("validation", "test")}
    return [
        {"attribute": name, "label": labels[column], "split": split, **compare(stages, examples, name, column)}
        for name in attributes
        for column in columns
        for split, examples in parts.items()
        if len(examples.targets)
    ]


def compare(stages: Sequence[Stage], examples: Examples, attribute: str, column: int) -> dict[str, Any]:
    """Measures each stage on the same rows: rates of each subgroup, gaps between them, accuracy; and their changes.

    A gap is the highest rate of a subgroup less the lowest, of those with enough rows to tell. Intervals are of a
    Poisson bootstrap that draws the same rows for all stages.
    """
    values = examples.values(attribute)
    names = sorted(set(values.tolist()) - {""})
    group = np.searchsorted(names, values) if names else np.zeros(len(values), np.int64)
    group = np.where(values == "", -1, group)
    positive = examples.targets == column
    said = [_answers(head, examples) for _, head in stages]
    right = [answers[np.arange(len(group)), np.minimum(examples.targets, answers.shape[1] - 1)] for answers in said]
    known = examples.targets < said[0].shape[1]
    columns = [group, positive, *(answers[:, column] for answers in said), *(hits & known for hits in right)]
    cells, counts = np.unique(np.stack(columns, axis=1).astype(np.int64), axis=0, return_counts=True)
    weights = counts.astype(np.float64)
    drawn = replicates(generator(0, attribute, str(column)), weights, weights, _DRAWS)
    sums = np.concatenate([weights[None], drawn])
    figures = [_figures(sums, cells, place, len(stages), len(names)) for place in range(len(stages))]
    bases = [
        [int(weights[(cells[:, 0] == place) & (cells[:, 1] == side)].sum()) for side in (0, 1)]
        for place in range(len(names))
    ]
    plain: dict[str, Any] = null_for_nan(
        {
            "rows": len(group),
            "slices": [
                {"value": name, "negatives": negatives, "positives": positives}
                for name, (negatives, positives) in zip(names, bases, strict=True)
            ],
            "stages": [
                {"name": name, **_told(found, names, bases)} for (name, _), found in zip(stages, figures, strict=True)
            ],
            "change": {key: _number(figures[-1][key] - figures[0][key]) for key in ("accuracy", *map(_gap, RATES))},
        }
    )
    return plain


def _answers(head: Head, examples: Examples) -> npt.NDArray[np.bool_]:
    slices = head.decision.slices
    values = None if slices is None else examples.values(slices.attribute).tolist()
    return head.decide(head.probabilities(examples.vectors), values)


def _gap(rate: str) -> str:
    return rate + "_gap"


def _figures(sums: Floats, cells: npt.NDArray[np.int64], place: int, stages: int, groups: int) -> dict[str, Floats]:
    """Accuracy and gaps ``[1 + draws]``, rates ``[1 + draws, groups]``; the first is the point."""
    said, right = cells[:, 2 + place] == 1, cells[:, 2 + stages + place] == 1
    found: dict[str, Floats] = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        found["accuracy"] = sums @ right.astype(float) / sums.sum(axis=1)
        for rate, base, wrong in zip(RATES, (cells[:, 1] == 0, cells[:, 1] == 1), (said, ~said), strict=True):
            each = np.full((len(sums), groups), np.nan)
            for group in range(groups):
                mask = base & (cells[:, 0] == group)
                each[:, group] = sums @ (mask & wrong) / (sums @ mask)
            found[rate] = each
            enough = each[:, sums[0] @ (base[:, None] & (cells[:, :1] == np.arange(groups))) >= _least()]
            spread = np.full(len(sums), np.nan)
            if enough.shape[1] > 1:
                spread = np.max(enough, axis=1) - np.min(enough, axis=1)
            found[_gap(rate)] = spread
    return found


def _least() -> int:
    return MeasureOptions.minimum_slice


def _told(found: Mapping[str, Floats], names: Sequence[str], bases: Sequence[Sequence[int]]) -> dict[str, Any]:
    told: dict[str, Any] = {key: _number(found[key]) for key in ("accuracy", *map(_gap, RATES))}
    told["slices"] = [{"value": name} for name in names]
    for side, rate in enumerate(RATES):
        point, draws = found[rate][0], found[rate][1:]
        lower, upper = share_intervals(point, draws, np.array([base[side] for base in bases], np.float64))
        for place, entry in enumerate(told["slices"]):
            entry[rate] = {"value": float(point[place]), "interval": [float(lower[place]), float(upper[place])]}
    return told


def _number(draws: Floats) -> dict[str, Any]:
    lower, upper = intervals(draws[1:])
    return {"value": float(draws[0]), "interval": [float(lower), float(upper)]}


def describe_remedies(remedies: Mapping[str, Any] | None) -> list[str]:
    """Returns what was done, a sentence each."""
    if not remedies:
        return []
    lines, mindiff, slices = [], remedies["mindiff"], remedies["slice_thresholds"]
    if remedies["rebalance"]:
        cells = [cell["weight"] for cell in remedies["rebalance"]["cells"] if cell["weight"] is not None]
        lines.append(
            f"--rebalance: training images weigh {min(cells):.2f} to {max(cells):.2f}, so that each value of "
            f"{remedies['rebalance']['attribute']} has the same share of each label"
        )
    if mindiff:
        lines.append(
            f"--mindiff: the scores of {mindiff['side']} with {mindiff['attribute']} {', '.join(mindiff['values'])} "
            f"were drawn to those of others ({mindiff['kernel']} kernel, weight {mindiff['weight']:g})"
        )
    if slices:
        shown = ", ".join(
            f"{entry['value']} {entry['threshold'] or slices['common']:.3f}" for entry in slices["values"][:_MANY]
        )
        lines.append(
            f"--slice-thresholds: {slices['label']!r} is answered from {shown} on, by {slices['attribute']}; the "
            f"served model, which sees no attributes, and images with another value: from {slices['common']:.3f}"
        )
    return lines


def tables(remedies: Mapping[str, Any] | None) -> list[tuple[str, list[list[str]]]]:
    """Returns a title and rows of cells, the heading first, for each attribute, class and split."""
    return [] if not remedies else [_table(entry) for entry in remedies["before_and_after"]]


def _table(entry: Mapping[str, Any]) -> tuple[str, list[list[str]]]:
    title = f"{entry['label']!r} by {entry['attribute']}, {entry['rows']:,} {entry['split']} images"
    heading = ["", "accuracy", "false positive rate: gap", "false negative rate: gap"]
    heading += [
        f"false positive rate: {slice_['value']} ({slice_['negatives']:,} negatives)"
        for slice_ in entry["slices"][:_SHOWN]
    ]
    lines = [heading]
    for stage in entry["stages"]:
        figures = [stage[key] for key in ("accuracy", *map(_gap, RATES))]
        figures += [slice_["false_positive_rate"] for slice_ in stage["slices"][:_SHOWN]]
        lines.append([stage["name"], *map(_cell, figures)])
    change = [_cell(entry["change"][key], "+") for key in ("accuracy", *map(_gap, RATES))]
    lines.append(["change", *change, *([""] * len(entry["slices"][:_SHOWN]))])
    return title, lines


def _cell(figure: Mapping[str, Any], sign: str = "") -> str:
    if figure["value"] is None:
        return "–"
    lower, upper = figure["interval"]
    return f"{figure['value']:{sign}.3f} ({lower:{sign}.3f} to {upper:{sign}.3f})"

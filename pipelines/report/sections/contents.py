"""What was embedded: images by label and split."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.report.page import Section
from pipelines.report.table_sample import LabelCounts
from transforms.sources.reference import SPLITS

LABELS = 50
"""Lines of the table, the most frequent labels first."""

_PLANNED = {"removed": "no longer in the input"}


def contents(counts: LabelCounts, counts_of_run: LabelCounts, plan: Mapping[str, int]) -> Section:
    """Returns the section.

    Args:
      counts: of the whole table.
      counts_of_run: of the rows that the run added.
      plan: of the run record.
    """
    fresh = dict(counts_of_run.labels())
    splits = [split for split in (*SPLITS, "") if any(found == split for _, found in counts.cells)]
    every = counts.labels()
    rows = [
        [
            label or "without a label",
            *(_cell(counts.cells[label, split]) for split in splits),
            _cell(images),
            _cell(fresh.get(label, 0)),
        ]
        for label, images in every[:LABELS]
    ]
    columns = [("label", "text"), *((split or "no split", "") for split in splits), ("all", ""), ("new", "")]
    return Section(
        id="contents",
        title="What is in the table now",
        short="Contents",
        template="contents",
        data={
            "columns": columns,
            "rows": rows,
            "labels": len(every),
            "counts": counts,
            "plan": {_PLANNED.get(name, name): number for name, number in plan.items() if number},
        },
    )


def _cell(number: int) -> tuple[str, int]:
    return (f"{number:,}" if number else "–", number)

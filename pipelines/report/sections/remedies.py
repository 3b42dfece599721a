"""What the remedies of a training have closed, and what that cost: before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.page import Section
from pipelines.training.remedies import describe_remedies, tables


def remedies(found: Mapping[str, Any] | None) -> Section | None:
    """Returns the section, from ``remedies`` of a model's metrics.json; None without."""
    if not found:
        return None
    shown = [
        {
            "title": title,
            "columns": [(name or "stage", "" if place else "text") for place, name in enumerate(heading)],
            "rows": rows,
        }
        for title, (heading, *rows) in tables(found)
    ]
    return Section(
        id="remedies",
        title="Remedies, before and after",
        short="Remedies",
        template="remedies",
        data={"sentences": describe_remedies(found), "tables": shown},
    )

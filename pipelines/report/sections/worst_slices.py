"""The slices that a search over all attributes and their pairs has found to be worst, with images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.assets import chance
from pipelines.report.page import Section
from pipelines.report.verdict import CHANCE, percent, slice_name


def worst_slices(metrics: Mapping[str, Any], pictures: bool) -> Section | None:
    """Returns the section, from ``worst_slices`` of metrics.schema.json; None when nothing was found."""
    search = metrics["worst_slices"]
    if not search["found"]:
        return None
    entries = [
        {
            "name": slice_name(found),
            "images": found["images"] if pictures else [],
            "sure": found["adjusted_p_value"] < CHANCE,
        }
        for found in search["found"]
    ]
    rows = [
        [
            entry["name"],
            (f"{found['rows']:,}", found["rows"]),
            (percent(found["accuracy"]), found["accuracy"]),
            (" to ".join(map(percent, found["accuracy_interval"])), found["accuracy_interval"][0]),
            (percent(found["rest_accuracy"]), found["rest_accuracy"]),
            (chance(found["adjusted_p_value"]), found["adjusted_p_value"]),
        ]
        for entry, found in zip(entries, search["found"], strict=True)
    ]
    return Section(
        id="worst-slices",
        title="The worst slices",
        short="Worst slices",
        template="worst_slices",
        data={"rows": rows, "entries": entries, "tried": search["tried"], "minimum": search["minimum_rows"]},
        images=[image["image_uri"] for entry in entries if entry["sure"] for image in entry["images"]],
    )

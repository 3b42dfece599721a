"""Drift: new images against those that the table had before."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.report.drift import Drift
from pipelines.report.page import Section
from pipelines.report.verdict import CHANCE
from transforms.measures.remarks import plural

SHOWN = 12
ALIKE, FAR = 0.02, 0.1
"""Distances below the first are hardly any, above the second large."""


def describe_drift(drift: Drift) -> str:
    """Returns what was found in a sentence."""
    if drift.p_value >= CHANCE:
        size = "The new images are not clearly different from the earlier ones"
    elif drift.distance < ALIKE:
        size = "The new images differ from the earlier ones, but hardly"
    elif drift.distance < FAR:
        size = "The new images differ from the earlier ones"
    else:
        size = "The new images are very different from the earlier ones"
    return (
        f"{size}: energy distance {drift.distance:.3f} on a scale from 0 to 1 (permutation p = {drift.p_value:.2g}; "
        f"{drift.new:,} new against {plural(drift.earlier, 'earlier image')})."
    )


def drifted(drift: Drift | None, uris: Sequence[str], labels: Sequence[str]) -> Section | None:
    """Returns the section; None where nothing was compared.

    Args:
      drift: of the new images.
      uris: of those.
      labels: of those.
    """
    if drift is None:
        return None
    rows = drift.farthest[:SHOWN].tolist()
    entries = [
        {
            "uri": uris[row],
            "label": labels[row] or "without a label",
            "line": f"{drift.ratios[row]:.1f} times the usual distance",
        }
        for row in rows
    ]
    return Section(
        id="drift",
        title="Drift: the new images against the earlier ones",
        short="Drift",
        template="drift",
        data={"sentence": describe_drift(drift), "entries": entries},
        images=[entry["uri"] for entry in entries],
    )

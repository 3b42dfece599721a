"""Images that have no result, by class of failure."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.report.page import Section


def dead_letters(numbers: Mapping[str, int]) -> Section | None:
    """Returns the section; None without any."""
    if not numbers:
        return None
    return Section(
        id="dead",
        title="Images without a prediction",
        short="Dead letters",
        template="dead_letters",
        data={"rows": [[name, (f"{number:,}", number)] for name, number in numbers.items()]},
    )

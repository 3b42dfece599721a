"""What a reader has to know before trusting the figures."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.report.page import Section


def warnings(sentences: Sequence[str]) -> Section | None:
    """Returns the section; None without a warning."""
    if not sentences:
        return None
    return Section(
        id="warnings",
        title="Before you trust these figures",
        short="Warnings",
        template="warnings",
        data={"sentences": sentences},
        alert=True,
    )

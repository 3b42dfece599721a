"""What was measured, and how to do it again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pipelines.report.page import Section


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Who made a page.

    Attributes:
      run_id: of the run.
      command: that makes the page again.
      made_at: when, for a person.
      seconds: that it took.
      versions: of the software.
    """

    run_id: str
    command: str
    made_at: str
    seconds: float
    versions: Mapping[str, str]


def reproduce(run: RunFacts, facts: Mapping[str, str]) -> Section:
    """Returns the section; ``facts`` are further lines, by name."""
    lines = {
        **facts,
        "Run": run.run_id,
        "Made": f"{run.made_at}, in {run.seconds:.1f} s",
        "Software": ", ".join(f"{name} {version}" for name, version in run.versions.items()),
    }
    return Section(
        id="measured",
        title="What was measured, and how to do it again",
        short="Reproduce",
        template="reproduce",
        data={"lines": lines, "command": run.command},
    )

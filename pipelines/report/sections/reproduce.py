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
    lines = {**facts, "Run": run.run_id, "Made": f"{run.made_at}, in {run.seconds:.1f} s"}
    return repeat("measured", lines, run.versions, run.command)


def repeat(done: str, lines: Mapping[str, str], versions: Mapping[str, str], command: str) -> Section:
    """Returns the section of what was ``done``: its lines, the software, and the command."""
    software = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Section(
        id="measured",
        title=f"What was {done}, and how to do it again",
        short="Reproduce",
        template="reproduce",
        data={"lines": {**lines, "Software": software}, "command": command},
    )

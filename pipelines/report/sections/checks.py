"""What was checked and adjusted in a training: temperature, thresholds, leaks, label errors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pipelines.report.assets import number
from pipelines.report.page import Section
from pipelines.training.label_errors import describe_label_errors
from pipelines.training.leak_report import describe_leaks
from pipelines.training.thresholds import describe_decision

_PAGES = {
    "leaks.html": "Images that lie in two splits, side by side",
    "label_errors.html": "Labels that are probably wrong, with their pictures",
}


def checks(metrics: Mapping[str, Any], files: Collection[str]) -> Section:
    """Returns the section.

    Args:
      metrics: of a model's metrics.json.
      files: names of the files that lie beside the page.
    """
    scaling, leaks = metrics["temperature_scaling"], metrics.get("leaks")
    before = [
        ["validation", _figure(scaling["ece_before"]), _figure(scaling["ece_after"])],
        ["test", _figure(scaling["test_ece_before"]), _figure(scaling["test_ece_after"])],
    ]
    found = [sentence[0].upper() + sentence[1:] + "." for sentence in describe_leaks(leaks)]
    if leaks is None:
        found.append("Duplicates across splits were not looked for.")
    elif not leaks["validation"] + leaks["test"]:
        found.append("No image of validation or test is in another split too, or nearly.")
    errors = describe_label_errors(metrics.get("label_errors"))
    found += [sentence[0].upper() + sentence[1:] for sentence in errors]
    if not errors:
        found.append("Wrong labels were not looked for; heliograph train --label-errors does.")
    return Section(
        id="checks",
        title="What was checked and adjusted",
        short="Checks",
        template="checks",
        data={
            "temperature": scaling["temperature"],
            "calibration": [row for row in before if row[1][1] is not None],
            "decision": describe_decision(metrics.get("decision")),
            "found": found,
            "pages": [(name, text) for name, text in _PAGES.items() if name in files],
        },
    )


def _figure(value: float | None) -> tuple[str, float | None]:
    return number(value), value

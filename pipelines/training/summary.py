"""What ``heliograph train`` says at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.progress import duration
from pipelines.training.leak_report import describe_leaks

_SHOWN = 10  # labels


def summarise(record: Mapping[str, Any]) -> str:
    """Returns the record of a training in some lines for a person."""
    metrics, labels = record["metrics"], record["labels"]
    shown = ", ".join(labels[:_SHOWN]) + (" …" if len(labels) > _SHOWN else "")
    news = "" if record["made"] else ": nothing new, the same data and configuration made it before"
    lines = [f"model: {record['model']}{news}", f"{len(labels)} labels: {shown}"]
    for name in ("validation", "test"):
        figures = metrics[name]
        if figures:
            low, high = figures["accuracy_interval"]
            lines.append(
                f"{name}: accuracy {figures['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}, majority "
                f"class {figures['majority_accuracy']:.3f}) on {figures['rows']:,} images"
            )
    lines += describe_leaks(metrics.get("leaks"))
    lines.append(f"{duration(record['seconds'])}; read {record['model']}/model_card.md")
    return "\n".join(lines)

"""What a reader of the figures has to know, in sentences."""

from __future__ import annotations

from typing import Any

_LEFT_OUT = {
    "bad_rows": "could not be read (unequal lists, a class named twice, a confidence outside 0 to 1)",
    "nan_scores": "had confidences that are not finite",
    "several_labels": "had several labels (which --multi-label measures)",
    "unlabelled": "had no label",
}
_NAMED_LABELS = 5


def warnings_of(metrics: dict[str, Any]) -> list[str]:
    """Returns the warnings of metrics as metrics.schema.json describes them."""
    counts, classes, versions = metrics["counts"], metrics["classes"], metrics["model_versions"]
    found = []
    if not counts["measured"]:
        found.append("No row could be measured, so there are no figures.")
    labels = [entry["name"] for entry in classes if entry["support"]]
    if len(labels) == 1:
        found.append(f"All rows have the label {labels[0]!r}: there is no AUC, and accuracy tells little.")
    for name, reason in _LEFT_OUT.items():
        if counts[name]:
            verb = "was" if counts[name] == 1 else "were"
            found.append(f"{plural(counts[name], 'row')} {reason} and {verb} left out.")
    if counts["training"]:
        rows = plural(counts["training"], "measured row")
        found.append(
            f"{rows} of {counts['measured']:,} are of images in the training split; a model is better at what it was "
            "trained on than at anything else."
        )
    if counts["unknown_labels"]:
        unknown = [repr(entry["name"]) for entry in classes if not entry["known"]]
        listed = ", ".join(unknown[:_NAMED_LABELS]) + (" …" if len(unknown) > _NAMED_LABELS else "")
        rows = plural(counts["unknown_labels"], "row")
        found.append(f"{rows} with a label that no prediction names ({listed}), counted as errors.")
    if counts["incomplete_scores"]:
        rows = plural(counts["incomplete_scores"], "row")
        found.append(
            f"{rows} did not name every class, so log loss, Brier score and AUC leave them out; "
            "heliograph score writes all classes with a larger --top-k."
        )
    if len(versions) > 1:
        found.append(f"The predictions come from several model versions: {', '.join(versions)}.")
    return found


def plural(number: int, noun: str) -> str:
    """Returns ``1 row``, ``2,000 rows`` or ``2 classes``; of several words the last is counted."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"

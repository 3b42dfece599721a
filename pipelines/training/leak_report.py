"""What the leak guard found, for metrics.json, for a table and for a page of pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.report.assets import number
from pipelines.report.gallery import Entry, render_gallery
from pipelines.training.features import Examples
from pipelines.training.leaks import CHECK, FIX, OFF, Leak, LeakSettings, find_leaks, fix_leaks
from transforms.files.spreadsheet import csv_lines
from transforms.model.head import Head
from transforms.sources.reference import SPLITS
from transforms.store.read import Features

PAGE, TABLE = "leaks.html", "leaks.csv"
_COLUMNS = ("split", "image_uri", "labels", "twin_split", "twin_uri", "twin_labels", "cosine", "exact")
_TITLE = "Images that lie in two splits"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guarded:
    """Features that the leak guard has seen.

    Attributes:
      settings: of the guard.
      before: of each split, as they were.
      features: of each split, as they are to be trained on.
      leaks: in ``before``, the most alike first.
      moved: images that were moved to another split.
    """

    settings: LeakSettings
    before: Mapping[str, Features]
    features: Mapping[str, Features]
    leaks: Sequence[Leak]
    moved: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know, a sentence at most."""
        if not self.leaks:
            return ()
        counts = [(self._leaking(split), split) for split in SPLITS[1:]]
        images = " and ".join(
            f"{number:,} of {len(self.before[split].embeddings):,} {split} images" for number, split in counts if number
        )
        exact = sum(leak.exact for leak in self.leaks)
        what = f"{images} are in another split too, or nearly (cosine {self.settings.threshold:g}; {exact:,} exactly)"
        if self.settings.action == FIX:
            return (f"{what}: {self.moved:,} images were moved to the other side",)
        return (f"{what}, which makes accuracies too good: see {PAGE} in the model, and --fix-leaks",)

    def _leaking(self, split: str) -> int:
        return len({leak.row for leak in self.leaks if leak.split == split})

    def metrics(self, head: Head, test: Examples, accuracy_before: float | None) -> dict[str, Any] | None:
        """Returns the field of metrics.json; None when nothing was looked for.

        Args:
          head: that was fitted on ``features``.
          test: of ``features``.
          accuracy_before: of a head that was fitted and measured on ``before``, when anything was moved.
        """
        if self.settings.action == OFF:
            return None
        found: dict[str, Any] = {
            "threshold": self.settings.threshold,
            **{split: self._leaking(split) for split in SPLITS[1:]},
            "exact": sum(leak.exact for leak in self.leaks),
            "moved": self.moved,
        }
        if self.settings.action == CHECK and self._leaking("test"):
            found["test_accuracy"] = self._accuracies(_right(head, test))
        elif self.moved:
            found["test_accuracy_before"] = accuracy_before
        return found

    def _accuracies(self, right: np.ndarray) -> dict[str, Any]:
        """The accuracy of one head on the test images that leak and on those that do not."""
        labelled = np.flatnonzero([bool(labels) for labels in self.before["test"].labels])
        leaking = np.isin(labelled, [leak.row for leak in self.leaks if leak.split == "test"])
        return {
            "leaking": float(right[leaking].mean()) if leaking.any() else None,
            "others": float(right[~leaking].mean()) if (~leaking).any() else None,
        }

    def files(self) -> dict[str, bytes]:
        """Returns a table of all leaks and a page with pictures of the first, by name; none without leaks."""
        if not self.leaks:
            return {}
        page = render_gallery(_TITLE, self._lead(), [self._entry(leak) for leak in self.leaks], TABLE)
        return {PAGE: page.encode("utf-8", "replace"), TABLE: self._table().encode("utf-8", "replace")}

    def _lead(self) -> str:
        done = (
            f"They were moved to the other side before training ({self.moved:,} images, with the rest of their groups)."
            if self.settings.action == FIX
            else "Train with --fix-leaks to move them to one side, or with a higher --leak-threshold if they differ."
        )
        return (
            f"{self.warnings[0].split(':')[0].split(', which')[0]}.\n"
            f"A head that has seen an image, or nearly, is right about it without having learned anything. {done}"
        )

    def _entry(self, leak: Leak) -> Entry:
        labels, twin_labels = self._labels(leak)
        alike = "the same content" if leak.exact else f"cosine {leak.cosine:.4f}"
        return Entry(
            images=[
                (self.before[split].image_uris[row], f"Image of the {split} split, labelled {text}")
                for split, row, text in (
                    (leak.split, leak.row, labels),
                    (leak.twin_split, leak.twin_row, twin_labels),
                )
            ],
            lines=[f"{leak.split} and {leak.twin_split}: {alike}", *([labels] if labels == twin_labels else [])],
            doubt="" if labels == twin_labels else f"labelled {labels} and {twin_labels}",
        )

    def _labels(self, leak: Leak) -> tuple[str, str]:
        places = ((leak.split, leak.row), (leak.twin_split, leak.twin_row))
        first, second = ("|".join(self.before[split].labels[row]) for split, row in places)
        return first, second

    def _table(self) -> str:
        rows = []
        for leak in self.leaks:
            labels, twin_labels = self._labels(leak)
            uri = self.before[leak.split].image_uris[leak.row]
            twin = self.before[leak.twin_split].image_uris[leak.twin_row]
            exact = "yes" if leak.exact else "no"
            rows.append((leak.split, uri, labels, leak.twin_split, twin, twin_labels, f"{leak.cosine:.5f}", exact))
        return csv_lines([_COLUMNS, *rows])


def describe_leaks(leaks: Mapping[str, Any] | None) -> list[str]:
    """Returns what the field of metrics.json says about the accuracy, a line at most."""
    if not leaks:
        return []
    if "test_accuracy_before" in leaks and leaks["test_accuracy_before"] is not None:
        return [
            f"test accuracy before {leaks['moved']:,} leaking images were moved: {leaks['test_accuracy_before']:.3f}"
        ]
    if "test_accuracy" in leaks:
        parts = {name: number(value) for name, value in leaks["test_accuracy"].items()}
        return [f"leaks: accuracy {parts['leaking']} on {leaks['test']:,} test images, {parts['others']} on the others"]
    return []


def guard(features: Mapping[str, Features], settings: LeakSettings, place: str) -> Guarded:
    """Looks for duplicates across splits, and moves them when that is asked for.

    Raises:
      StoreError: as leaks.fix_leaks.
    """
    leaks = find_leaks(features, settings.threshold) if settings.action != OFF else []
    fixed, moved = fix_leaks(features, settings.threshold, place) if leaks and settings.action == FIX else (features, 0)
    return Guarded(settings=settings, before=features, features=fixed, leaks=leaks, moved=moved)


def _right(head: Head, examples: Examples) -> np.ndarray:
    """``bool[N]``: whether the most probable label of an image is right, or all that is said of several."""
    probabilities, wanted = head.probabilities(examples.vectors), examples.targets
    if examples.several:
        decided = head.decide(probabilities)
        return (np.pad(decided, ((0, 0), (0, wanted.shape[1] - decided.shape[1]))) == wanted).all(axis=1)
    return np.asarray(probabilities.argmax(axis=1) == wanted)

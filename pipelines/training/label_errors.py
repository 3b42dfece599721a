"""Probably wrong labels: heads that have not seen an image say what they think of its label."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.report.gallery import Entry, render_gallery
from pipelines.training.confident_learning import normalised_margin, probably_wrong
from pipelines.training.features import Examples, fold_numbers, unit_of
from pipelines.training.fit_head import Fit, fit_head
from pipelines.training.fit_settings import FitSettings
from pipelines.training.leaks import labelled_images
from transforms.errors import OptionError
from transforms.files.spreadsheet import csv_lines
from transforms.sources.reference import SPLITS
from transforms.store.read import Features

PAGE, TABLE = "label_errors.html", "label_errors.csv"
LABEL_FOLDS = 8
"""Each head is fitted on six of them, stops by one and judges one."""

_PAIRS = 20
_COLUMNS = ("image_id", "image_uri", "split", "label", "suggested", "confidence", "suggested_confidence", "margin")
_LEAD = """\
Most suspicious first, by confident learning (Northcutt et al., 2021) from heads that have not seen the image.
A suggestion is a question, not a correction: look at the picture, and correct the label where it comes from."""


class Suspect(NamedTuple):
    """An image whose label is probably wrong.

    Attributes:
      split: that it lies in.
      row: in the features of its split.
      label: that it has.
      suggested: the most probable label.
      confidence: in its own label.
      suggested_confidence: in the suggested one.
    """

    split: str
    row: int
    label: str
    suggested: str
    confidence: float
    suggested_confidence: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """What was found.

    Attributes:
      features: of each split.
      suspects: most suspicious first.
      judged: images whose label was judged.
    """

    features: Mapping[str, Features]
    suspects: tuple[Suspect, ...]
    judged: int

    def metrics(self) -> dict[str, Any]:
        """Returns the field of metrics.json."""
        pairs = collections.Counter((suspect.label, suspect.suggested) for suspect in self.suspects)
        return {
            "judged": self.judged,
            "suspected": len(self.suspects),
            "pairs": [
                {"label": label, "suggested": suggested, "images": images}
                for (label, suggested), images in pairs.most_common(_PAIRS)
            ],
        }

    def files(self) -> dict[str, bytes]:
        """Returns a table of all suspects and a page with pictures of the first, by name."""
        entries = [
            Entry(
                images=[(self.features[suspect.split].image_uris[suspect.row], f"Labelled {suspect.label}")],
                lines=[f"labelled {suspect.label} ({suspect.confidence:.0%}), {suspect.split}"],
                doubt=f"rather {suspect.suggested} ({suspect.suggested_confidence:.0%})",
            )
            for suspect in self.suspects
        ]
        rows = [
            (
                self.features[suspect.split].image_ids[suspect.row],
                self.features[suspect.split].image_uris[suspect.row],
                suspect.split,
                suspect.label,
                suspect.suggested,
                f"{suspect.confidence:.4f}",
                f"{suspect.suggested_confidence:.4f}",
                f"{suspect.suggested_confidence - suspect.confidence:.4f}",
            )
            for suspect in self.suspects
        ]
        page = render_gallery("Labels that are probably wrong", _LEAD, entries, TABLE)
        table = csv_lines([_COLUMNS, *rows])
        return {PAGE: page.encode("utf-8", "replace"), TABLE: table.encode("utf-8", "replace")}


def describe_label_errors(found: Mapping[str, Any] | None) -> list[str]:
    """Returns what the field of metrics.json says, a line at most."""
    if not found:
        return []
    share = found["suspected"] / max(found["judged"], 1)
    return [
        f"label errors: {found['suspected']:,} of {found['judged']:,} labels are probably wrong ({share:.1%}): {PAGE}"
    ]


def find_label_errors(features: Mapping[str, Features], settings: FitSettings, fit: Fit) -> LabelErrors:
    """Judges the labels of all splits, without augmented views, by heads that have not seen the image or its group.

    Args:
      features: of each split, with labels, groups and contents.
      settings: of the heads; their regulariser is the one that ``fit`` has found, their classes weigh the same.
      fit: of the model itself.

    Raises:
      OptionError: images have several labels.
    """
    judgeable = {split: labelled_images(features[split]) for split in SPLITS}
    places = [(split, row) for split in SPLITS for row in judgeable[split].tolist()]
    names = [features[split].labels[row] for split, row in places]
    if any(len(set(labels)) > 1 for labels in names):
        raise OptionError("--label-errors judges one label an image, and here some have several; leave it out")
    classes = sorted({labels[0] for labels in names})
    index = {name: place for place, name in enumerate(classes)}
    given = np.array([index[labels[0]] for labels in names], np.int32)
    vectors = np.concatenate([features[split].embeddings[judgeable[split]] for split in SPLITS])
    keys = [unit_of(features[split], row) for split, row in places]
    kept = [attempt.l2_regularizer for attempt in fit.attempts if attempt.kept]
    settings = dataclasses.replace(settings, class_weights="none", mindiff=None, l2_regularizer=float(np.median(kept)))
    rows = Examples(vectors=vectors, targets=given)
    probabilities, judged = out_of_fold(rows, fold_numbers(given, keys, LABEL_FOLDS), classes, settings)
    numbers = np.flatnonzero(judged)
    probabilities, given = probabilities[numbers], given[numbers]
    margins = normalised_margin(probabilities, given.astype(np.int64))
    wrong = np.flatnonzero(probably_wrong(probabilities, given.astype(np.int64)))
    suspects = [
        Suspect(
            split=places[numbers[row]][0],
            row=places[numbers[row]][1],
            label=classes[given[row]],
            suggested=classes[int(probabilities[row].argmax())],
            confidence=float(probabilities[row, given[row]]),
            suggested_confidence=float(probabilities[row].max()),
        )
        for row in wrong[np.argsort(margins[wrong], kind="stable")]
    ]
    return LabelErrors(features=features, suspects=tuple(suspects), judged=len(numbers))


def out_of_fold(
    rows: Examples, folds: npt.NDArray[np.int64], classes: list[str], settings: FitSettings
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Returns each row's probabilities by a head that was fitted without its fold, and which rows could be judged.

    A row cannot whose class is in no other fold that a head was fitted on.
    """
    probabilities = np.zeros((len(rows.targets), len(classes)))
    judged = np.zeros(len(rows.targets), np.bool_)
    count = int(folds.max(initial=0)) + 1
    for fold in range(count):
        stopping = (fold + 1) % count
        train = np.flatnonzero((folds != fold) & (folds != stopping))
        present = np.unique(rows.targets[train])
        held = np.flatnonzero(folds == fold)
        stop = np.flatnonzero((folds == stopping) & np.isin(rows.targets, present))
        if len(present) < 2 or not held.size or not stop.size:
            continue
        place = np.full(len(classes), -1, np.int32)
        place[present] = np.arange(len(present))
        parts = [Examples(vectors=rows.vectors[part], targets=place[rows.targets[part]]) for part in (train, stop)]
        head = fit_head(parts[0], parts[1], [classes[column] for column in present], settings).head
        probabilities[np.ix_(held, present)] = head.probabilities(rows.vectors[held])
        judged[held] = np.isin(rows.targets[held], present)
    return probabilities, judged

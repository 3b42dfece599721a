"""The rows of a feature table as matrices with integer targets, a split each."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.errors import StoreError
from transforms.model.head import Array
from transforms.sources.reference import SPLITS
from transforms.store.read import Features, read_features
from transforms.store.table import FeatureTable

HELD_OUT_SHARE = 0.15
"""Of the training split, kept for validation when the table has no validation split."""

FOLDS = 5
"""Parts of the training split that are held out in turn, see fit_head."""

ONE, SEVERAL, AUTO = "one", "several", "auto"
LABELS_PER_IMAGE = (AUTO, ONE, SEVERAL)
"""``auto`` is several when a labelled image has more than one."""

Names = tuple[str, ...]
Targets = npt.NDArray[Any]
"""``int32[N]``, the class of each row; with several labels an image ``bool[N, C]``, whether it has each label."""

Values = npt.NDArray[np.str_]
"""``str[N]``, the value of an attribute of each row; empty for none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """N vectors with their classes.

    Attributes:
      vectors: ``float32[N, D]``.
      targets: ``int32[N]``, index into Splits.labels, beyond them into Splits.foreign_labels; with several
        labels an image ``bool[N, C]``, a column for each of both.
      weights: ``float32[N]``, how much each row counts in the loss, not negative; None for all alike.
      attributes: of each image; empty where they are not known.
    """

    vectors: Array
    targets: Targets
    weights: Array | None = None
    attributes: Sequence[Mapping[str, str]] = ()

    def take(self, rows: npt.NDArray[np.int64]) -> Examples:
        """Returns some of the rows."""
        return Examples(
            vectors=self.vectors[rows],
            targets=self.targets[rows],
            weights=None if self.weights is None else self.weights[rows],
            attributes=[self.attributes[row] for row in rows.tolist()] if self.attributes else (),
        )

    def values(self, attribute: str) -> Values:
        """Returns the value of an attribute of each row, empty where a row has none."""
        return np.array([row.get(attribute, "") for row in self.attributes], np.str_)

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.targets.ndim == 2

    def counts(self, classes: int) -> npt.NDArray[np.int64]:
        """Returns how many rows have each of the first ``classes`` labels."""
        if self.several:
            return np.asarray(self.targets[:, :classes].sum(axis=0), np.int64)
        return np.bincount(self.targets, minlength=classes)[:classes]

    def known(self, classes: int) -> Examples:
        """Returns the rows with a label among the first ``classes``, and of several labels only those."""
        mask = self.targets[:, :classes].any(axis=1) if self.several else self.targets < classes
        rows = self if mask.all() else self.take(np.flatnonzero(mask))
        return dataclasses.replace(rows, targets=rows.targets[:, :classes]) if self.several else rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Splits:
    """What a table holds for training.

    Attributes:
      labels: names of the classes, those of the training split, sorted.
      foreign_labels: what only other splits have; no model can predict them.
      train: each class has at least one example.
      validation: not empty.
      test: empty when the table has no test split.
      folds: ``int64[N]``, a fold of each training example; rows of one group or content share one.
      keys: group or content of each training example; what has one key must not be torn apart.
      held_out: whether validation was taken out of the training split.
      warnings: what a person should know about the data, a sentence each.
    """

    labels: tuple[str, ...]
    foreign_labels: tuple[str, ...]
    train: Examples
    validation: Examples
    test: Examples
    folds: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    held_out: bool
    warnings: tuple[str, ...]


def read_splits(table: FeatureTable, labels_per_image: str = AUTO) -> Splits:
    """Reads a table; images without a label are left out, so are augmented views outside training.

    Args:
      table: of feature rows.
      labels_per_image: one of LABELS_PER_IMAGE.

    Raises:
      StoreError: no labels, several labels an image where one is wanted, one class only, an empty training
        split, too few examples to hold any out, vectors that are not finite.
    """
    return split_features(read_split_features(table), table.path, labels_per_image)


def read_split_features(table: FeatureTable) -> dict[str, Features]:
    """Reads the rows of each split; augmented views of the training split only."""
    columns = ("image_id", "image_uri", "sha256", "labels", "group", "view_id", "attributes")
    return {
        split: read_features(table, splits=[split], views=None if split == SPLITS[0] else [0], columns=columns)
        for split in SPLITS
    }


def split_features(
    features: Mapping[str, Features], place: str, labels_per_image: str = AUTO, attributes: Sequence[str] = ()
) -> Splits:
    """Turns labels into targets and checks what training relies on; ``place`` names the table in messages.

    Args:
      features: of each split.
      place: of the table.
      labels_per_image: one of LABELS_PER_IMAGE.
      attributes: that the training split must have; without any its examples have none.

    Raises:
      StoreError: as read_splits, or no training image has one of the attributes.
    """
    warnings: list[str] = []
    rows = {split: _labelled(features[split], split, warnings) for split in SPLITS}
    if not any(chosen.size for chosen in rows.values()):
        raise StoreError(f"{place} has no labelled image; embed images with labels (folders or a manifest)")
    warnings += _contradictions(features)
    names = {split: [features[split].labels[row] for row in rows[split]] for split in SPLITS}
    several = labels_per_image == SEVERAL or _have_several(names, labels_per_image, place, warnings)
    labels = _classes(names["train"], place)
    foreign = tuple(sorted({name for split in SPLITS for row in names[split] for name in row}.difference(labels)))
    index = {name: target for target, name in enumerate((*labels, *foreign))}
    examples = {}
    for split in SPLITS:
        vectors = features[split].embeddings
        if not np.isfinite(vectors).all():
            raise StoreError(f"{place}: vectors of the {split} split have NaN or infinity; embed its images again")
        vectors = vectors if len(rows[split]) == len(vectors) else vectors[rows[split]]
        known = features[split].attributes if split != SPLITS[0] or attributes else ()
        examples[split] = Examples(
            vectors=vectors,
            targets=_targets(names[split], index, several),
            attributes=[known[row] for row in rows[split].tolist()] if known else (),
        )
        warnings += _class_warnings([name for row in names[split] for name in row], labels, split)
    for name in attributes:
        _check_attribute(name, examples["train"].values(name), features["train"], place)
    keys = [unit_of(features["train"], row) for row in rows["train"]]
    views = features["train"].view_ids
    is_image = views[rows["train"]] == 0 if len(views) else np.ones(len(keys), np.bool_)
    return _assemble(labels, foreign, examples, keys, is_image, place, warnings)


def hold_out(targets: Targets, keys: Sequence[str], share: float = HELD_OUT_SHARE) -> npt.NDArray[np.bool_]:
    """Chooses the rows of the training split that become the validation split.

    Rows of one key stay together. Each class gives ``share`` of its keys, rounded, and one at least when it
    has two: those whose hash is smallest, so that the choice is the same every time.

    Args:
      targets: as Examples.targets.
      keys: group or content of each row; a key belongs to the class of its first row.

    Returns:
      ``bool[N]``, true for validation.
    """
    chosen: set[str] = set()
    for names in _shuffled_keys(strata(targets), keys):
        number = max(1, round(share * len(names))) if len(names) > 1 else 0
        chosen.update(names[:number])
    return np.array([key in chosen for key in keys], np.bool_)


def fold_numbers(targets: Targets, keys: Sequence[str], folds: int = FOLDS) -> npt.NDArray[np.int64]:
    """Deals the keys of each class out to ``folds`` folds in turn, in the order of their hash.

    Args:
      targets: as hold_out.
      keys: as hold_out.

    Returns:
      ``int64[N]`` in [0, folds).
    """
    fold_of: dict[str, int] = {}
    for names in _shuffled_keys(strata(targets), keys):
        start = len(fold_of)  # the next class goes on where this one ends, so that rare classes spread
        fold_of |= {name: (start + position) % folds for position, name in enumerate(names)}
    return np.array([fold_of[key] for key in keys], np.int64)


def strata(targets: Targets) -> npt.NDArray[np.int32]:
    """Returns the class of each row, ``int32[N]``; of several labels the rarest, which is hardest to spread."""
    if targets.ndim == 1:
        return targets
    rarest_first = np.argsort(targets.sum(axis=0), kind="stable")
    return rarest_first[targets[:, rarest_first].argmax(axis=1)].astype(np.int32)


def _shuffled_keys(targets: npt.NDArray[np.int32], keys: Sequence[str]) -> list[list[str]]:
    """Returns the different keys of each class, in an order that is random but always the same."""
    classes: dict[str, int] = {}
    for key, target in zip(keys, targets.tolist(), strict=True):
        classes.setdefault(key, target)
    by_class: dict[int, list[str]] = collections.defaultdict(list)
    for key, target in classes.items():
        by_class[target].append(key)
    return [sorted(names, key=_hash) for _, names in sorted(by_class.items())]


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _assemble(
    labels: tuple[str, ...],
    foreign: tuple[str, ...],
    examples: dict[str, Examples],
    keys: list[str],
    is_image: npt.NDArray[np.bool_],
    place: str,
    warnings: list[str],
) -> Splits:
    train, validation = examples["train"], examples["validation"]
    held_out = not len(validation.known(len(labels)).targets)
    if held_out:
        mask = hold_out(train.targets, keys)
        keys = [key for key, held in zip(keys, mask.tolist(), strict=True) if not held]
        held, images = np.flatnonzero(mask & is_image), int(is_image.sum())  # nobody measures on augmented views
        validation, train = train.take(held), train.take(np.flatnonzero(~mask))
        counts = train.counts(len(labels))
        missing = [label for label, count in zip(labels, counts, strict=True) if not count]
        if not len(validation.targets) or missing:
            raise StoreError(
                f"{place} has no validation split and too few training images{_of(missing)} to hold some "
                "out; embed more images, or with --split 80/10/10"
            )
        warnings.append(
            f"the table has no validation split: {len(held)} of {images} training images are held out for it"
        )
    return Splits(
        labels=labels,
        foreign_labels=foreign,
        train=train,
        validation=validation,
        test=examples["test"],
        folds=fold_numbers(train.targets, keys),
        keys=tuple(keys),
        held_out=held_out,
        warnings=tuple(warnings),
    )


def _labelled(features: Features, split: str, warnings: list[str]) -> npt.NDArray[np.int64]:
    """Returns the rows that have a label."""
    labelled = np.array([bool(labels) for labels in features.labels], np.bool_)
    missing = int((~labelled).sum())
    if missing:
        warnings.append(f"{missing} of {len(labelled)} images of the {split} split have no label and are left out")
    return np.flatnonzero(labelled)


def _check_attribute(name: str, values: Values, features: Features, place: str) -> None:
    if not (values != "").any():
        known = sorted({key for row in features.attributes for key in row})
        there = f"there are {some_of(known)}" if known else "they have none: columns of a manifest become attributes"
        raise StoreError(f"{place}: no training image has the attribute {name!r}; {there}")


def _have_several(names: dict[str, list[Names]], labels_per_image: str, place: str, warnings: list[str]) -> bool:
    """Returns whether any image has several labels; refuses them where one is wanted."""
    found = [row for split in SPLITS for row in names[split] if len(set(row)) > 1]
    if not found:
        return False
    if labels_per_image == ONE:
        raise StoreError(
            f"{place}: {len(found)} images have several labels (one has {some_of(found[0])}); "
            "a softmax head takes one an image: embed them with one, or train with --labels-per-image several"
        )
    warnings.append(
        f"{len(found)} images have several labels, so each label gets a probability of its own (sigmoids); "
        "--labels-per-image one would refuse them"
    )
    return True


def _targets(names: list[Names], index: dict[str, int], several: bool) -> Targets:
    if not several:
        return np.array([index[row[0]] for row in names], np.int32)
    targets = np.zeros((len(names), len(index)), np.bool_)
    for row, entries in enumerate(names):
        targets[row, [index[name] for name in entries]] = True
    return targets


def _classes(names: list[Names], place: str) -> tuple[str, ...]:
    labels = tuple(sorted({name for row in names for name in row}))
    if not labels:
        raise StoreError(f"the training split of {place} is empty; embed labelled images with --split 80/10/10")
    if len(labels) == 1:
        raise StoreError(f"the training split of {place} has one class only, {labels[0]!r}; a head needs two or more")
    return labels


def _class_warnings(names: list[str], labels: tuple[str, ...], split: str) -> list[str]:
    """Says which classes the training split and another one do not share."""
    foreign = [name for name in names if name not in labels]
    absent = sorted(set(labels).difference(names))
    found = []
    if foreign:
        found.append(
            f"{len(foreign)} images of the {split} split are of {some_of(sorted(set(foreign)))}, which no "
            "training image is; they count as wrong"
        )
    if names and absent:
        found.append(f"the {split} split has no image of {some_of(absent)}")
    return found


def _contradictions(features: Mapping[str, Features]) -> list[str]:
    """Says which images are the same file and have different labels; no model can be right about all of them."""
    said: dict[str, tuple[str, Names]] = {}
    told: dict[str, str] = {}
    for split in SPLITS:
        rows = features[split]
        for digest, uri, labels in zip(rows.sha256, rows.image_uris, rows.labels, strict=True):
            first, before = said.setdefault(digest, (uri, labels))
            if digest and labels and before and set(labels) != set(before):
                told.setdefault(digest, f"{first} ({', '.join(before)}) and {uri} ({', '.join(labels)})")
    if not told:
        return []
    return [f"{len(told)} times the same picture has different labels, for example {next(iter(told.values()))}"]


def unit_of(features: Features, row: int) -> str:
    """Returns what must not straddle two splits: the group, else the content with all its views."""
    return features.groups[row] or features.sha256[row] or features.image_ids[row]


def _of(names: Sequence[str]) -> str:
    return f" of {some_of(names)}" if names else ""


def some_of(names: Sequence[str]) -> str:
    """Returns names for a message, the first ten of them."""
    return ", ".join(map(repr, names[:10])) + (" …" if len(names) > 10 else "")

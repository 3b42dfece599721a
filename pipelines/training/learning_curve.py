"""Learning curves: what the head would be with fewer labels, and so what more of them may buy."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.training.class_weights import class_weights_of
from pipelines.training.features import Examples, Splits, strata
from pipelines.training.fit_head import L2_PATH
from pipelines.training.fit_settings import FEW_EXAMPLES, FitSettings
from pipelines.training.stack import HeadStack, Mask, Members
from pipelines.training.standardise import standardisation
from transforms.measures.confusion import CONFIDENCE_95
from transforms.model.head import Array

SHARES = (0.1, 0.25, 0.5, 1.0)
"""Of the labels, that heads are fitted on."""

REPEATS = 5
"""Subsets of each share; of all there is one."""

_CURVE_L2 = L2_PATH[::2]
_SHOWN_CLASSES = 100


def learning_curve(splits: Splits, validation: Examples, settings: FitSettings) -> dict[str, Any]:
    """Fits heads on shares of the training split and measures them on the test split, without one on validation.

    A share is taken of each class, and rows of one group or content stay together; the subsets of one repeat
    contain each other. An interval has two parts: that another subset might have been drawn, and that another
    test split might. All heads are fitted side by side.

    Args:
      splits: what was trained on.
      validation: rows of known labels, which end the training and choose the regulariser.
      settings: of the heads; without a regulariser the best of several is taken for each.

    Returns:
      ``split`` and ``images`` that were measured on; ``points`` (share, images, accuracy, interval, recalls by
      class) and ``classes``, each with the gain of its recall from half of the labels to all, the interval
      of the gain, and the images it has.
    """
    classes = len(splits.labels)
    train = splits.train.known(classes)
    known = splits.test.known(classes)
    test = known if len(known.targets) else validation
    subsets, shares = subset_masks(train, splits.keys, settings.seed)
    hits = _decisions(train, validation, test, splits.labels, subsets, settings)
    wanted = test.targets if test.several else np.arange(classes) == test.targets[:, None]
    points = [_point(share, subsets, shares, hits, wanted) for share in SHARES]
    return {
        "split": "validation" if test is validation else "test",
        "images": len(test.targets),
        "repeats": REPEATS,
        "points": points,
        "classes": _gains(splits.labels, train.counts(classes), shares, hits, wanted),
    }


def subset_masks(train: Examples, keys: Sequence[str], seed: int) -> tuple[Mask, npt.NDArray[np.float64]]:
    """Returns the rows of each subset, ``bool[N, M]``, and the share that each is of, ``float64[M]``.

    A key belongs to the class of its first row, as in features.fold_numbers; each class gives one key at least.
    """
    classes: dict[str, int] = {}
    for key, target in zip(keys, strata(train.targets).tolist(), strict=True):
        classes.setdefault(key, target)
    codes = {key: code for code, key in enumerate(classes)}
    of_row = np.array([codes[key] for key in keys])
    masks, shares = [], []
    for repeat in range(REPEATS):
        place = np.zeros(len(codes))
        for target in sorted(set(classes.values())):
            own = [key for key, value in classes.items() if value == target]
            own.sort(key=lambda key: hashlib.sha256(f"{seed} {repeat} {key}".encode("utf-8", "surrogatepass")).digest())
            place[[codes[key] for key in own]] = np.arange(len(own)) / len(own)  # the first is in every subset
        for share in SHARES[:-1]:
            masks.append((place < share)[of_row])
            shares.append(share)
    return np.stack([*masks, np.ones(len(of_row), np.bool_)], axis=1), np.array([*shares, 1.0])


def _decisions(
    train: Examples, validation: Examples, test: Examples, labels: Sequence[str], subsets: Mask, settings: FitSettings
) -> npt.NDArray[np.bool_]:
    """Returns which labels the head of each subset gives each test row, ``bool[T, M, C]``."""
    weights = class_weights_of(train, labels, settings.class_weights)
    path = _CURVE_L2 if settings.l2_regularizer is None else (settings.l2_regularizer,)
    heads, tried = subsets.shape[1], len(path)
    mean, std = standardisation(train.vectors)
    stack = HeadStack(train, validation, mean, std, classes=len(labels), settings=settings)
    examples = min(len(train.targets), FEW_EXAMPLES)
    members = Members(
        l2=np.tile(np.array(path, np.float32), heads),
        rates=np.full(heads * tried, settings.first_rate(examples), np.float32),
        class_weights=np.tile(weights, (heads * tried, 1)),
        used=np.repeat(subsets, tried, axis=1),
    )
    fit = stack.fit(members, settings.schedule(examples))
    best = fit.losses.reshape(heads, tried).argmin(axis=1) + tried * np.arange(heads)
    logits = stack.logits(
        [array[:, best] if place == 0 else array[best] for place, array in enumerate(fit.weights)], test
    )
    return logits > 0 if test.several else _winners(logits)


def _winners(logits: Array) -> npt.NDArray[np.bool_]:
    best = logits.argmax(axis=2)
    return np.arange(logits.shape[2]) == best[:, :, None]


def _point(
    share: float,
    subsets: Mask,
    shares: npt.NDArray[np.float64],
    decided: npt.NDArray[np.bool_],
    wanted: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    members = shares == share
    exact = (decided[:, members] == wanted[:, None]).all(axis=2)
    accuracies = exact.mean(axis=0)
    mean = float(accuracies.mean())
    between = float(accuracies.var(ddof=1) / len(accuracies)) if len(accuracies) > 1 else 0.0
    half = CONFIDENCE_95 * math.sqrt(between + mean * (1 - mean) / len(wanted))
    recalls = (decided[:, members] & wanted[:, None]).sum(axis=0).mean(axis=0) / np.maximum(wanted.sum(axis=0), 1)
    return {
        "share": share,
        "images": round(float(subsets[:, members].sum(axis=0).mean())),
        "accuracy": mean,
        "interval": [max(0.0, mean - half), min(1.0, mean + half)],
        "recall": [round(float(value), 4) for value in recalls[:_SHOWN_CLASSES]],
    }


def _gains(
    labels: Sequence[str],
    counts: npt.NDArray[np.int64],
    shares: npt.NDArray[np.float64],
    decided: npt.NDArray[np.bool_],
    wanted: npt.NDArray[np.bool_],
) -> list[dict[str, Any]]:
    """The paired difference of recall, image by image, between half of the labels and all of them."""
    gains = []
    for index, label in enumerate(labels[:_SHOWN_CLASSES]):
        own = wanted[:, index]
        entry: dict[str, Any] = {"name": label, "images": int(counts[index]), "gain": None, "interval": None}
        if own.sum() > 1:
            half = decided[own][:, shares == SHARES[-2], index].astype(np.float64)
            whole = decided[own][:, shares == 1.0, index].mean(axis=1)
            paired = whole - half.mean(axis=1)
            between = half.mean(axis=0).var(ddof=1) / REPEATS
            error = CONFIDENCE_95 * math.sqrt(paired.var(ddof=1) / len(paired) + between)
            gain = float(paired.mean())
            entry |= {"gain": gain, "interval": [gain - error, gain + error]}
        gains.append(entry)
    return gains

"""Thresholds of a model's answers: chosen on validation for a wanted precision, recall, accuracy or coverage."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.report.assets import number
from pipelines.training.features import Examples, Splits, some_of
from transforms.errors import OptionError
from transforms.model.decision import NEVER, Decision
from transforms.model.head import Array, Head

FEW = 20
"""A threshold that rests on fewer validation images is told to be uncertain."""

_CLASS_MEASURES = ("precision", "recall")
_IMAGE_MEASURES = ("accuracy", "coverage")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goal:
    """What a threshold is to reach on the validation split.

    Attributes:
      measure: ``precision`` or ``recall`` of a class; ``confidence``, ``accuracy`` or ``coverage`` of all answers.
      wanted: in (0, 1].
      label: of the class; None for every class that no other goal names.
    """

    measure: str
    wanted: float
    label: str | None = None

    def __str__(self) -> str:
        text = f"{self.wanted:g}" if self.measure == "confidence" else f"{self.measure}={self.wanted:g}"
        return text if self.label is None else f"{self.label}:{text}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThresholdSettings:
    """Which thresholds a model gets; none by default: the most confident label is the answer.

    Attributes:
      threshold_for: goals of classes.
      none_below: the goal of the confidence below which an image is none of these.
    """

    threshold_for: tuple[Goal, ...] = ()
    none_below: Goal | None = None


def add_threshold_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--threshold-for`` and ``--none-below``."""
    parser.add_argument(
        "--threshold-for",
        action="append",
        default=[],
        metavar="[LABEL:]precision=P|recall=R",
        help="answer a class from the confidence on that has this precision or recall on validation; several times",
    )
    parser.add_argument(
        "--none-below",
        metavar="C|accuracy=A|coverage=S",
        help="answer 'none of these' below confidence C, or below the one chosen on validation so that a share A of "
        "the answers is right, or a share S of the images is answered",
    )


def threshold_settings(flags: argparse.Namespace) -> ThresholdSettings:
    """Returns the settings that the flags name.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """
    goals = tuple(_class_goal(text) for text in flags.threshold_for)
    labels = [goal.label for goal in goals]
    for label in labels:
        if labels.count(label) > 1:
            whose = "every class" if label is None else repr(label)
            raise OptionError(
                f"--threshold-for is given twice for {whose}; a class has one threshold, so leave one out"
            )
    none_below = None if flags.none_below is None else _none_goal(flags.none_below)
    return ThresholdSettings(threshold_for=goals, none_below=none_below)


def threshold_arguments(settings: ThresholdSettings) -> list[str]:
    """Returns the flags of the settings, the inverse of threshold_settings."""
    words = [f"--threshold-for={goal}" for goal in settings.threshold_for]
    return words + ([] if settings.none_below is None else [f"--none-below={settings.none_below}"])


def settings_suffix(settings: ThresholdSettings) -> str:
    """Returns what distinguishes these thresholds from others in a digest; nothing when none are wanted."""
    words = " ".join(threshold_arguments(settings))
    return f"-{hashlib.sha256(words.encode()).hexdigest()[:8]}" if words else ""


def _class_goal(text: str) -> Goal:
    left, _, number = text.rpartition("=")
    label, colon, measure = left.rpartition(":")
    if measure not in _CLASS_MEASURES:
        raise OptionError(f"--threshold-for must be [LABEL:]precision=P or [LABEL:]recall=R, got {text!r}")
    return Goal(measure=measure, wanted=_share("--threshold-for", number), label=label if colon else None)


def _none_goal(text: str) -> Goal:
    measure, equals, number = text.rpartition("=")
    if equals and measure not in _IMAGE_MEASURES:
        raise OptionError(f"--none-below must be a confidence, accuracy=A or coverage=S, got {text!r}")
    goal = Goal(measure=measure or "confidence", wanted=_share("--none-below", number))
    if goal.measure == "confidence" and goal.wanted == 1:
        raise OptionError("--none-below must be below 1, such as 0.6: at 1 nothing would be answered")
    return goal


def _share(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise OptionError(f"{flag}: {text!r} is no number; give one in (0, 1], such as 0.95") from None
    if not 0 < value <= 1:
        raise OptionError(f"{flag}: {text} must be in (0, 1], such as 0.95")
    return value


def decide(head: Head, splits: Splits, settings: ThresholdSettings) -> tuple[Head, dict[str, Any] | None]:
    """Returns the head with its thresholds, and the field of metrics.json; None when none are wanted.

    Raises:
      OptionError: as fit_decision.
    """
    if settings == ThresholdSettings():
        return head, None
    fit = fit_decision(head, splits.validation, settings)
    decided = dataclasses.replace(head, decision=fit.decision)
    reached = measure_decision(decided, fit.goals, splits.validation)
    goals = zip(head.labels, fit.goals, fit.decision.thresholds or (None,) * len(head.labels), strict=True)
    return decided, {
        "none_below": fit.decision.none_below,
        "none_below_goal": None if settings.none_below is None else str(settings.none_below),
        "thresholds": [
            {"name": name, "threshold": threshold, "measure": goal.measure, "wanted": goal.wanted}
            for name, goal, threshold in goals
            if goal is not None
        ],
        "validation": reached,
        "test": measure_decision(decided, fit.goals, splits.test),
        "warnings": [*fit.warnings, *_missed(reached, fit)],
    }


def _missed(reached: dict[str, Any] | None, fit: DecisionFit) -> list[str]:
    """Says which goals the answers do not reach, since another label or none of these comes before."""
    goals = [goal for goal in fit.goals if goal is not None]
    figures = reached["classes"] if reached else []
    return [
        f"--threshold-for {goal}, class {entry['name']!r}: the answers reach {entry[goal.measure]:.3f} on validation, "
        "since another label or none of these comes before it; ask for fewer classes, or without --none-below"
        for entry, goal in zip(figures, goals, strict=False)
        if entry[goal.measure] is not None and entry[goal.measure] < goal.wanted - 1e-9
    ]


def describe_decision(decision: Mapping[str, Any] | None) -> list[str]:
    """Returns what the field of metrics.json says, some lines for a person."""
    if not decision:
        return []
    lines = []
    if decision["none_below"]:
        lines.append(f"none of these below a confidence of {decision['none_below']:.3f}")
    for place, entry in enumerate(decision["thresholds"]):
        reached = ", ".join(
            f"{number(decision[split]['classes'][place][entry['measure']])} on {split}"
            for split in ("validation", "test")
            if decision[split]
        )
        threshold = entry["threshold"]
        limit = "no threshold" if threshold is None else "never" if threshold > 1 else f"from {threshold:.3f}"
        lines.append(f"{entry['name']!r} {limit}: {entry['measure']} {reached} (wanted {entry['wanted']:g})")
    for split in ("validation", "test"):
        if decision[split]:
            answered, accuracy = decision[split]["answered"], decision[split]["accuracy"]
            refused = decision[split]["refused"]
            unknown = "" if refused is None else f"; {refused:.0%} of the images of unknown labels are none of these"
            lines.append(
                f"answered on {split}: {answered:.1%} of the images, {number(accuracy)} of them right{unknown}"
            )
    return lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionFit:
    """Thresholds, and what to say of them.

    Attributes:
      decision: for the head.
      goals: of each class, None without.
      warnings: a sentence each.
    """

    decision: Decision
    goals: tuple[Goal | None, ...]
    warnings: tuple[str, ...]


def fit_decision(head: Head, validation: Examples, settings: ThresholdSettings) -> DecisionFit:
    """Chooses the thresholds on the validation split.

    Args:
      head: calibrated.
      validation: targets beyond the head's labels are of classes that it does not know: never right.
      settings: what is wanted.

    Raises:
      OptionError: a goal names a label that the head does not have, or an accuracy that is never reached.
    """
    goals = class_goals(head.labels, validation.several, settings)
    probabilities, warnings = head.probabilities(validation.vectors), []
    thresholds: list[float | None] = []
    for column, (label, goal) in enumerate(zip(head.labels, goals, strict=True)):
        threshold, remark = (None, None)
        if goal is not None:
            threshold, remark = _class_threshold(probabilities[:, column], _of_class(validation, column), goal)
        thresholds.append(threshold)
        if remark:
            warnings.append(f"--threshold-for {goal}, class {label!r}: {remark}")
    none_below = 0.0 if settings.none_below is None else _none_below(probabilities, validation, settings.none_below)
    decision = Decision(thresholds=tuple(thresholds) if any(goals) else (), none_below=none_below)
    return DecisionFit(decision=decision, goals=goals, warnings=tuple(warnings))


def class_goals(labels: Sequence[str], several: bool, settings: ThresholdSettings) -> tuple[Goal | None, ...]:
    """Returns the goal of each class: its own, else the one for every class, else None.

    Raises:
      OptionError: a goal names none of the labels, or cannot be with ``several`` labels an image.
    """
    if several and settings.none_below is not None and settings.none_below.measure == "accuracy":
        raise OptionError(
            f"--none-below {settings.none_below} is for one label an image; of several give a confidence, coverage=S, "
            "or a --threshold-for precision=P"
        )
    named = {goal.label: goal for goal in settings.threshold_for}
    unknown = [label for label in named if label is not None and label not in labels]
    if unknown:
        raise OptionError(f"--threshold-for: {unknown[0]!r} is no class; there are {some_of(labels)}")
    return tuple(named.get(label, named.get(None)) for label in labels)


def _class_threshold(confidence: Array, of_class: npt.NDArray[np.bool_], goal: Goal) -> tuple[float | None, str | None]:
    """Returns the threshold and what to say of it.

    For precision it is the least one above which the share of the class is high enough, for recall the highest
    above which enough of the class lie; it stands halfway between two confidences.
    """
    if not of_class.any():
        threshold = NEVER if goal.measure == "precision" else None
        means = "it is never answered" if threshold else "it has no threshold"
        return threshold, f"no validation image is of it, so {means}; embed some"
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence, hits = confidence[order].astype(np.float64), of_class[order].cumsum()
    cuts = np.append(np.diff(sorted_confidence) < 0, True)  # a threshold cannot part equal confidences
    taken = np.arange(1, len(hits) + 1)
    if goal.measure == "precision":
        reached = np.flatnonzero(cuts & (hits >= goal.wanted * taken))
        if not reached.size:
            best = float((hits / taken)[cuts].max())
            return NEVER, f"validation reaches {best:.3f} at most, so it is never answered; ask for less"
        last = reached[-1]
    else:
        last = np.flatnonzero(cuts & (hits >= goal.wanted * hits[-1]))[0]
    following = sorted_confidence[last + 1] if last + 1 < len(hits) else 0.0
    support = int(taken[last] if goal.measure == "precision" else hits[-1])
    remark = f"the threshold rests on {support} validation images only, it may not hold" if support < FEW else None
    return float(sorted_confidence[last] + following) / 2, remark


def _of_class(examples: Examples, column: int) -> npt.NDArray[np.bool_]:
    return np.asarray(examples.targets[:, column] if examples.several else examples.targets == column, np.bool_)


def _none_below(probabilities: Array, validation: Examples, goal: Goal) -> float:
    if goal.measure == "confidence":
        return goal.wanted
    highest = probabilities.max(axis=1)
    if goal.measure == "accuracy":
        right = probabilities.argmax(axis=1) == validation.targets
        threshold, _ = _class_threshold(highest, right, Goal(measure="precision", wanted=goal.wanted))
    else:
        threshold, _ = _class_threshold(
            highest, np.ones(len(highest), np.bool_), dataclasses.replace(goal, measure="recall")
        )
    if threshold is None or threshold >= 1:
        raise OptionError(f"--none-below {goal}: no confidence has answers that right on validation; ask for less")
    return threshold


def measure_decision(head: Head, goals: Sequence[Goal | None], examples: Examples) -> dict[str, Any] | None:
    """Returns what the answers reach on a split, None for an empty one.

    ``answered`` is the share of images with an answer, ``accuracy`` the share of those that is right (all of it, of
    several labels), ``refused`` the share that is none of these of the images of which the head knows no label.
    """
    rows, classes = len(examples.targets), len(head.labels)
    if not rows:
        return None
    said = head.decide(head.probabilities(examples.vectors))
    known = np.stack([_of_class(examples, column) for column in range(classes)], axis=1)
    beyond = examples.targets[:, classes:].any(axis=1) if examples.several else examples.targets >= classes
    answered, foreign = said.any(axis=1), ~known.any(axis=1)
    right = answered & (said == known).all(axis=1) & ~beyond
    figures = []
    for column, goal in enumerate(goals):
        if goal is not None:
            hits = int((said[:, column] & known[:, column]).sum())
            answers = int(said[:, column].sum())
            precision, recall = _ratio(hits, answers), _ratio(hits, int(known[:, column].sum()))
            name = head.labels[column]
            figures.append({"name": name, "answers": answers, "precision": precision, "recall": recall})
    return {
        "rows": rows,
        "answered": _ratio(int(answered.sum()), rows),
        "accuracy": _ratio(int(right.sum()), int(answered.sum())),
        "refused": _ratio(int((foreign & ~answered).sum()), int(foreign.sum())),
        "classes": figures,
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None

"""Remedies of a gap between subgroups, in training: the settings, and the flags that say them."""

from __future__ import annotations

import argparse
import dataclasses

from pipelines.training.fit_settings import FitSettings
from pipelines.training.lab import LabSettings
from pipelines.training.mindiff import GAUSSIAN, KERNELS, NEGATIVES, SIDES, MinDiff
from transforms.errors import OptionError


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemedySettings:
    """What is done against a gap; nothing by default.

    Attributes:
      rebalance: attribute whose values are to have the same label shares in training.
      mindiff: term of the loss.
      slice_thresholds: attribute whose values get thresholds of their own.
      positive_label: the class whose errors are looked at; empty for the second of two.
    """

    rebalance: str | None = None
    mindiff: MinDiff | None = None
    slice_thresholds: str | None = None
    positive_label: str = ""

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes of all of them, without repetition."""
        named = (self.rebalance, self.mindiff and self.mindiff.attribute, self.slice_thresholds)
        return tuple(dict.fromkeys(name for name in named if name))

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that were given."""
        names = ("rebalance", "mindiff", "slice_thresholds")
        return tuple("--" + name.replace("_", "-") for name in names if getattr(self, name))

    def stages(self) -> list[tuple[str, RemedySettings]]:
        """Returns nothing done, then one remedy more at a time, each with its name."""
        before = RemedySettings(positive_label=self.positive_label)
        found = [("without", before)]
        for flag in self.flags:
            name = flag[2:].replace("-", "_")
            before = dataclasses.replace(before, **{name: getattr(self, name)})
            found.append((f"and {flag}" if len(found) > 1 else flag, before))
        return found


def add_remedy_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each field of RemedySettings."""
    parser.add_argument(
        "--rebalance",
        metavar="ATTRIBUTE",
        help="weigh training images so that each value of the attribute has the same share of each label",
    )
    parser.add_argument(
        "--mindiff",
        metavar="ATTRIBUTE:VALUE[,VALUE]",
        help="draw the scores of images with these values and of the others together while training",
    )
    parser.add_argument(
        "--mindiff-weight", type=float, metavar="W", help=f"of that in the loss (default: {MinDiff.weight:g})"
    )
    parser.add_argument("--mindiff-kernel", choices=KERNELS, help=f"of that (default: {GAUSSIAN})")
    parser.add_argument(
        "--mindiff-on",
        choices=SIDES,
        help="whose scores: images without the positive label, for false positives, or with it, for false negatives "
        f"(default: {NEGATIVES})",
    )
    parser.add_argument(
        "--slice-thresholds",
        metavar="ATTRIBUTE",
        help="a threshold for each value of the attribute, chosen on validation so that the false positive rates are "
        "alike; for `heliograph score`, not for the served model",
    )
    parser.add_argument(
        "--positive-label",
        metavar="LABEL",
        help="the class whose false positives and negatives these remedies are about (default: the second of two)",
    )


def remedy_settings(flags: argparse.Namespace, fit: FitSettings, lab: LabSettings) -> RemedySettings:
    """Returns the settings that the flags name.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """
    own = {name: getattr(flags, f"mindiff_{name}") for name in ("weight", "kernel")} | {"side": flags.mindiff_on}
    given = {name: value for name, value in own.items() if value is not None}
    if flags.mindiff is None and given:
        flag = "--mindiff-on" if "side" in given else f"--mindiff-{next(iter(given))}"
        raise OptionError(f"{flag} has no effect without --mindiff ATTRIBUTE:VALUE; add it, or leave {flag} out")
    label, mindiff = flags.positive_label or "", None
    if flags.mindiff is not None:
        attribute, _, values = flags.mindiff.partition(":")
        mindiff = MinDiff(attribute=attribute, values=tuple(values.split(",")), label=label, **given)
        if lab.sweep or lab.learning_curve:
            other = "--sweep" if lab.sweep else "--learning-curve"
            raise OptionError(f"{other} fits heads without --mindiff; leave one of them out")
    settings = RemedySettings(
        rebalance=_attribute("--rebalance", flags.rebalance),
        mindiff=mindiff,
        slice_thresholds=_attribute("--slice-thresholds", flags.slice_thresholds),
        positive_label=label,
    )
    if label and not settings.attributes:
        raise OptionError(
            "--positive-label has no effect without --rebalance, --mindiff or --slice-thresholds; leave it out"
        )
    constrained(fit, settings)  # tells what is wrong before anything is read
    return settings


def _attribute(flag: str, name: str | None) -> str | None:
    if name is not None and not name.strip():
        raise OptionError(f"{flag} must name an attribute, a column of the manifest, got {name!r}")
    return name


def remedy_arguments(settings: RemedySettings) -> list[str]:
    """Returns the flags of what differs from the default, the inverse of remedy_settings."""
    words = [f"--rebalance={settings.rebalance}"] if settings.rebalance else []
    if settings.mindiff:
        words.append(f"--mindiff={settings.mindiff}")
        names = {"weight": "weight", "kernel": "kernel", "side": "on"}
        for name, flag in names.items():
            value = getattr(settings.mindiff, name)
            if value != getattr(MinDiff, name):
                words.append(f"--mindiff-{flag}={value}")
    words += [f"--slice-thresholds={settings.slice_thresholds}"] if settings.slice_thresholds else []
    return words + ([f"--positive-label={settings.positive_label}"] if settings.positive_label else [])


def constrained(fit: FitSettings, remedies: RemedySettings) -> FitSettings:
    """Returns how a head is fitted with the remedies."""
    return dataclasses.replace(fit, mindiff=remedies.mindiff)

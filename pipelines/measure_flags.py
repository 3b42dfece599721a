"""Flags that say what ``heliograph evaluate`` measures."""

from __future__ import annotations

import argparse

from pipelines import options
from transforms.errors import OptionError
from transforms.measures.fairness import THRESHOLDS
from transforms.measures.slices import DEFAULT_VALUES, MOST_COMPARED, MeasureOptions


def add_measure_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument(
        "--slice",
        action="append",
        metavar="ATTRIBUTE",
        help="measure each value of it apart, or each pair of values of two (a*b); may be given several times "
        f"(default: all with at most {DEFAULT_VALUES} values)",
    )
    parser.add_argument(
        "--minimum-slice", type=options.positive(int), default=30, help="slices with fewer rows are marked"
    )
    parser.add_argument(
        "--threshold",
        action="append",
        type=float,
        metavar="SHARE",
        help=f"give rates at it, besides {', '.join(map(str, THRESHOLDS))}; may be given several times",
    )
    parser.add_argument(
        "--positive-label",
        action="append",
        metavar="L",
        help="compare slices by this class against the rest; may be given several times "
        f"(default: every class, up to {MOST_COMPARED})",
    )
    parser.add_argument("--multi-label", action="store_true", help="rows may have several labels")
    parser.add_argument("--bootstrap", type=options.positive(int), default=200, metavar="N", help="draws for intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")


def measure_options(flags: argparse.Namespace, worst: int) -> MeasureOptions:
    """Returns what the flags ask for.

    Raises:
      OptionError: a threshold that is no share.
    """
    asked = flags.threshold or []
    for threshold in asked:
        if not 0 <= threshold < 1:
            raise OptionError(f"--threshold must be at least 0 and below 1, got {threshold}")
    return MeasureOptions(
        slices=tuple(flags.slice or ()),
        minimum_slice=flags.minimum_slice,
        worst=worst,
        multi_label=flags.multi_label,
        thresholds=tuple(sorted({*THRESHOLDS, *asked})),
        positive_labels=tuple(flags.positive_label or ()),
        draws=flags.bootstrap,
        seed=flags.seed,
    )

"""The flags of augmented views."""

from __future__ import annotations

import argparse
from typing import Any

from pipelines import options
from transforms.errors import OptionError
from transforms.images.augment import POLICIES, Views


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--views`` and ``--augment``."""
    parser.add_argument(
        "--views",
        type=_count,
        metavar="K",
        help="rows for K augmented views of each image of the training split; 0 takes them out (default: as the table "
        "has it, at first 0)",
    )
    _add_augment(parser)


def views_of(count: int | None, policy: str | None, kept: Views) -> Views:
    """Returns the views that a run makes; what is not given is as the table keeps it.

    Raises:
      OptionError: a policy for no views.
    """
    if policy and not (kept.count if count is None else count):
        raise OptionError(f"--augment {policy} says how views are made; say how many with --views, such as --views 4")
    return Views(count=kept.count if count is None else count, policy=policy or kept.policy)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {text}")
    return number


def add_tta_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--tta`` and ``--augment``."""
    parser.add_argument(
        "--tta",
        type=options.positive(int),
        metavar="K",
        help="average the probabilities of each image and K augmented views of it (test-time augmentation)",
    )
    _add_augment(parser)


def _add_augment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--augment",
        metavar="POLICY[:STRENGTH]",
        help=f"what the images show, hence how they may vary: {', '.join(POLICIES)}; texture:0.25 is a quarter of "
        "texture (default: natural)",
    )


def tta_of(flags: argparse.Namespace) -> dict[str, Any]:
    """Returns ``tta`` and ``augment`` of ScoreOptions: how many views are averaged, and by which policy.

    Raises:
      OptionError: a combination that means nothing.
    """
    if flags.tta and flags.store:
        raise OptionError("--tta needs pixels: score --input rather than --store")
    if flags.augment and not flags.tta:
        raise OptionError(
            f"--augment {flags.augment} says how views are made; say how many with --tta, such as --tta 4"
        )
    return {"tta": flags.tta, "augment": flags.augment or "natural"} if flags.tta else {}

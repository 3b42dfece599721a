"""The flags of augmented views."""

from __future__ import annotations

import argparse
from typing import Any

from pipelines import options
from transforms.errors import OptionError
from transforms.images.augment import POLICIES


def add_tta_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--tta`` and ``--augment``."""
    parser.add_argument(
        "--tta",
        type=options.positive(int),
        metavar="K",
        help="average the probabilities of each image and K augmented views of it (test-time augmentation)",
    )
    parser.add_argument(
        "--augment", choices=tuple(POLICIES), help="what the images show, hence how they may vary (default: natural)"
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

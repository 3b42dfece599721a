"""Flags that say what ``heliograph evaluate`` measures."""

from __future__ import annotations

import argparse
import dataclasses

from pipelines import options
from transforms.errors import OptionError
from transforms.measures.columns import ColumnMapping
from transforms.measures.fairness import THRESHOLDS
from transforms.measures.slices import DEFAULT_VALUES, MOST_COMPARED, MeasureOptions
from transforms.store.catalog import open_table


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
    parser.add_argument(
        "--multi-label", action="store_true", help="rows may have several labels (known of predictions of ours)"
    )
    parser.add_argument("--bootstrap", type=options.positive(int), default=200, metavar="N", help="draws for intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")


def add_column_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for predictions that others made."""
    columns = parser.add_argument_group(
        "columns", "of a Parquet, CSV or JSONL file that others made; further columns are attributes to slice by"
    )
    columns.add_argument("--label-column", default="", metavar="C", help="with the true label")
    columns.add_argument(
        "--score-column",
        action="append",
        metavar="C|CLASS=C",
        help="with the confidence of a class; one alone is that of the positive label",
    )
    columns.add_argument("--weight-column", default="", metavar="C", help="with the weight of each row")
    columns.add_argument("--id-column", default="", metavar="C", help="that identifies each row")


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for slices by cluster of embeddings."""
    parser.add_argument(
        "--clusters", type=options.positive(int), metavar="K", help="slice by K clusters of the embeddings in --store"
    )
    parser.add_argument("--store", help="with the embeddings of the images, for --clusters")
    parser.add_argument("--encoder-table", metavar="NAME", help="which table of the store, when it has several")


def cluster_files(flags: argparse.Namespace) -> list[str]:
    """Returns the data files that --clusters reads; none without.

    Raises:
      OptionError: one of --clusters and --store without the other.
      StoreError: there is no such table.
    """
    if (flags.clusters is None) != (flags.store is None):
        raise OptionError("--clusters and --store go together: how many clusters, and where the embeddings are")
    if flags.store is None:
        return []
    if flags.clusters > DEFAULT_VALUES and not flags.slice:
        raise OptionError(f"--clusters must be at most {DEFAULT_VALUES}, got {flags.clusters}")
    return [file.uri for file in open_table(flags.store, flags.encoder_table).data_files()]


def add_comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for a second model's predictions."""
    parser.add_argument(
        "--compare",
        metavar="DIR|FILE",
        help="predictions of another model or run for the same images; the labels are those of --predictions",
    )
    parser.add_argument(
        "--compare-score-column",
        action="append",
        metavar="C|CLASS=C",
        help="as --score-column, where the other predictions have other columns",
    )


def compared_mapping(flags: argparse.Namespace) -> ColumnMapping:
    """Returns the columns of the other predictions, with the classes of the first.

    Raises:
      OptionError: not as many score columns as the first have.
    """
    mine, others = column_mapping(flags), tuple(flags.compare_score_column or ())
    if not others:
        return mine
    if not flags.compare or len(others) != len(mine.scores):
        raise OptionError("--compare-score-column needs --compare, and as many columns as --score-column")
    names = mine.classes if len(others) > 1 else (mine.scores[0].rpartition("=")[0] or mine.scores[0],)
    columns = (name.rpartition("=") for name in others)
    named = tuple(f"{theirs or own}={column}" for own, (theirs, _, column) in zip(names, columns, strict=True))
    return dataclasses.replace(mine, scores=named)


def column_mapping(flags: argparse.Namespace) -> ColumnMapping:
    """Returns what the flags say of the columns.

    Raises:
      OptionError: flags that contradict each other.
    """
    scores, positive = tuple(flags.score_column or ()), flags.positive_label or []
    if len(scores) == 1 and len(positive) > 1:
        raise OptionError(f"one --score-column is the score of one --positive-label, got {', '.join(positive)}")
    return ColumnMapping(
        label=flags.label_column,
        scores=scores,
        positive_label=positive[0] if len(scores) == 1 and positive else "",
        weight=flags.weight_column,
        id=flags.id_column,
    )


def measure_options(flags: argparse.Namespace, worst: int) -> MeasureOptions:
    """Returns what the flags ask for.

    Raises:
      OptionError: a threshold that is no share.
    """
    asked, mapping = flags.threshold or [], column_mapping(flags)
    for threshold in asked:
        if not 0 <= threshold < 1:
            raise OptionError(f"--threshold must be at least 0 and below 1, got {threshold}")
    return MeasureOptions(
        slices=tuple(flags.slice or ()),
        minimum_slice=flags.minimum_slice,
        worst=worst,
        multi_label=flags.multi_label,
        thresholds=tuple(sorted({*THRESHOLDS, *asked})),
        positive_labels=mapping.classes[:1] if len(mapping.scores) == 1 else tuple(flags.positive_label or ()),
        draws=flags.bootstrap,
        seed=flags.seed,
    )

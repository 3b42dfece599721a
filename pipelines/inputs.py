"""What embed and score share: the flags of the input, and its recognition before any work is done."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from pipelines import options
from transforms.errors import InputError
from transforms.files.filesystem import absolute, is_local, local_path
from transforms.shards.record import allowed_failures
from transforms.sources.columns import Columns
from transforms.sources.dialects import DIALECTS, Source, recognise, would_list


def add_input_flags(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds the flags that say what is read, and how hard."""
    add_source_flags(parser, required)
    add_batch_flags(parser)
    parser.add_argument(
        "--price-per-core-hour",
        type=options.positive(float),
        metavar="PRICE",
        help="of the workers' cores: the run record then tells the cost",
    )
    parser.add_argument("--run-id", help="name of the run (default: time and chance); the same id publishes once")


def add_batch_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how many images are worked on together."""
    parser.add_argument("--shard-size", type=options.positive(int), default=1000, help="images a shard, about")
    parser.add_argument(
        "--batch-size",
        type=options.positive(int),
        metavar="N",
        help="images that are encoded together, or that a thread takes in turn where a call of the network takes one "
        "(default: 32; in turn, 8 to 32 by trial)",
    )


def add_source_flags(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds the flags that say what is read, and what of it may fail."""
    add_reading_flags(parser, required)
    parser.add_argument(
        "--max-failures", default="50%", metavar="N|P%", help="dead letters allowed before exit status 1"
    )


def add_reading_flags(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds the flags that say what is read and how."""
    parser.add_argument(
        "--input",
        action="append",
        required=required,
        metavar="SRC",
        help="a folder with a directory per label, a glob, an image, a manifest (CSV, TSV, JSONL, Parquet), or a "
        "container (tar, TFRecord, zip, Parquet with image bytes); may be given several times",
    )
    parser.add_argument("--input-format", choices=sorted(DIALECTS), help="name the form instead of recognising it")
    parser.add_argument(
        "--input-root",
        metavar="DIR",
        help="folder that a manifest's local images lie below (default: the manifest's)",
    )
    _add_column_flags(parser)
    parser.add_argument(
        "--threads",
        type=options.positive(int),
        help="that decode, and encode where a call takes one image (default: one a core, or fewer by trial)",
    )
    parser.add_argument(
        "--image-timeout", type=options.positive(float), default=60.0, metavar="SECONDS", help="for one image"
    )
    parser.add_argument("--trust-model", action="store_true", help="load a model whose graph may touch files")


def _add_column_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what an input calls its columns, keys or features."""
    parser.add_argument("--uri-column", metavar="C", help="of a manifest's addresses (default: uri)")
    parser.add_argument(
        "--image-column",
        metavar="C",
        help="of the image's bytes (default: image/encoded in TFRecord, image in Parquet)",
    )
    parser.add_argument("--label-column", metavar="C", help="of the label or labels (default: labels, else label)")
    parser.add_argument(
        "--label-separator", metavar="S", help="between several labels in one text (default: | in the column labels)"
    )
    parser.add_argument("--split-column", default="split", metavar="C", help="of train, validation or test")
    parser.add_argument(
        "--group-column", default="group", metavar="C", help="of what must not straddle two splits, such as a patient"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputConfiguration:
    """What is read: the part of a command's configuration that add_reading_flags names.

    Attributes:
      input: absolute addresses.
      input_format: of DIALECTS; None to recognise it.
      input_root: that a manifest's local images lie below; None for the manifest's.
      columns: what an input calls them.
    """

    input: tuple[str, ...]
    input_format: str | None
    input_root: str | None
    columns: Columns

    def recognise(self, output: str | None = None) -> list[Source]:
        """Recognises every input, says what it is, and looks whether there is an image in it.

        Args:
          output: where the command writes.

        Raises:
          InputError: an input does not exist, has no known form, would list the output, or none of them has an image.
        """
        root = self.input_root
        if root is not None and is_local(root) and not os.path.isdir(local_path(root)):
            raise InputError(f"--input-root {root} is no directory")
        sources: list[Source] = []
        try:
            for uri in self.input:
                found = recognise(uri, self.input_format, root, self.columns)
                if output is not None and would_list(uri, output):
                    raise InputError(
                        f"{absolute(output)} lies in --input {uri}, and the next run would take what is written "
                        "there for input; name a place outside of it"
                    )
                print(_describe(uri, found), file=sys.stderr)
                sources += found
            has_images = any(list(islice(source.list_images(), 1)) for source in sources)
        except OSError as error:
            raise InputError(f"--input cannot be read: {error}") from error
        if not has_images:
            names = ", ".join(source.uri for source in sources)
            raise InputError(
                f"no images found in {names}; a folder is searched for names such as .jpg and .png, "
                "a glob such as 'DIR/**' takes every file, a manifest needs a row an image"
            )
        return sources


def given_input(flags: argparse.Namespace) -> InputConfiguration:
    """Returns what the flags of add_reading_flags say is read."""
    return InputConfiguration(
        input=tuple(map(absolute, flags.input or ())),
        input_format=flags.input_format,
        input_root=flags.input_root and absolute(flags.input_root),
        columns=Columns(
            uri=flags.uri_column,
            image=flags.image_column,
            label=flags.label_column,
            split=flags.split_column,
            group=flags.group_column,
            label_separator=flags.label_separator,
        ),
    )


def recorded_input(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a configuration that a run record holds, those of InputConfiguration in their types."""
    return {**fields, "input": tuple(fields["input"]), "columns": Columns(**fields["columns"])}


def _describe(uri: str, sources: Sequence[Source]) -> str:
    """Returns the line that says what was recognised; many files of a glob are counted by form."""
    if len(sources) == 1:
        return f"input: {sources[0].uri} ({DIALECTS[sources[0].dialect].title})"
    forms = collections.Counter(DIALECTS[source.dialect].title for source in sources)
    return f"input: {uri} ({', '.join(f'{number:,} × {title}' for title, number in sorted(forms.items()))})"


def check_max_failures(text: str) -> str:
    """Returns the flag's value once it is known to be right."""
    allowed_failures(text, 0)
    return text

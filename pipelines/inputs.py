"""What embed and score share: the flags of the input, and its recognition before any work is done."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import islice

from pipelines import options
from transforms.errors import InputError
from transforms.files.filesystem import is_local, local_path
from transforms.shards.record import allowed_failures
from transforms.sources.dialects import DIALECTS, Source, recognise


def add_input_flags(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds the flags that say what is read, and how hard."""
    parser.add_argument(
        "--input",
        action="append",
        required=required,
        metavar="SRC",
        help="a folder with a directory per label, a glob, an image, or a manifest (CSV, TSV, JSONL, Parquet with a "
        "column uri); may be given several times",
    )
    parser.add_argument("--input-format", choices=sorted(DIALECTS), help="name the form instead of recognising it")
    parser.add_argument(
        "--input-root",
        metavar="DIR",
        help="folder that a manifest's local images lie below (default: the manifest's)",
    )
    parser.add_argument(
        "--max-failures", default="50%", metavar="N|P%", help="dead letters allowed before exit status 1"
    )
    parser.add_argument("--shard-size", type=options.positive(int), default=1000, help="images a shard, about")
    parser.add_argument("--batch-size", type=options.positive(int), default=32, help="images a call of the network")
    parser.add_argument("--threads", type=options.positive(int), help="that read and decode (default: one a core)")
    parser.add_argument(
        "--image-timeout", type=options.positive(float), default=60.0, metavar="SECONDS", help="for one image"
    )
    parser.add_argument("--run-id", help="name of the run (default: time and chance); the same id publishes once")
    parser.add_argument("--trust-model", action="store_true", help="load a model whose graph may touch files")


def recognise_inputs(inputs: Sequence[str], dialect: str | None, input_root: str | None) -> list[Source]:
    """Recognises every input, says what it is, and looks whether there is an image in it.

    Raises:
      InputError: an input does not exist, has no known form, or none of them has an image.
    """
    if input_root is not None and is_local(input_root) and not os.path.isdir(local_path(input_root)):
        raise InputError(f"--input-root {input_root} is no directory")
    try:
        sources = [recognise(uri, dialect, input_root) for uri in inputs]
        for source in sources:
            print(f"input: {source.uri} ({DIALECTS[source.dialect].title})", file=sys.stderr)
        found = any(list(islice(source.list_images(), 1)) for source in sources)
    except OSError as error:
        raise InputError(f"--input cannot be read: {error}") from error
    if not found:
        names = ", ".join(source.uri for source in sources)
        raise InputError(
            f"no images found in {names}; a folder is searched for names such as .jpg and .png, "
            "a glob such as 'DIR/**' takes every file, a manifest needs a row an image"
        )
    return sources


def roots_of(sources: Sequence[Source]) -> tuple[str, ...]:
    """Returns the folders below which images lie."""
    return tuple(sorted({source.root for source in sources}))


def check_max_failures(text: str) -> str:
    """Returns the flag's value once it is known to be right."""
    allowed_failures(text, 0)
    return text

"""``heliograph conformance``: whether a runner gives the same answer as the local one."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines import cli, encoder_flags, options, runner
from pipelines.run_record import new_run_id
from pipelines.same_answer.compare import DIFFERENT, SAME, Check
from pipelines.same_answer.flow import Flow
from transforms.encoders import engines
from transforms.errors import OptionError, WorkError
from transforms.files.filesystem import check_writable, is_local, join
from transforms.files.runs import remove_directory
from transforms.shards.record import software_versions

FEWEST = 6
"""Good images that a model can be trained on, with some for every file of the collection."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    parser = options.command_parser(
        "conformance",
        "Embed, score and evaluate a small drawn collection, bad images among it, locally and then with the flags "
        "that go to Beam, and compare rows, dead letters, counters and metrics.",
    )
    parser.add_argument(
        "--directory",
        help="where images and results go, below a name of their own; gs:// or s3:// when the workers are elsewhere "
        "(default: a temporary directory)",
    )
    parser.add_argument("--keep", action="store_true", help="leave what was made there also when all is the same")
    parser.add_argument("--images", type=options.positive(int), default=60, help="good images that are drawn")
    parser.add_argument("--model", help="to score with (default: one is trained on the reference's features)")
    parser.add_argument(
        "--tolerance",
        type=options.positive(float),
        default=1e-4,
        help="of vectors and confidences, relative to the largest value of a vector where that is above 1",
    )
    encoder_flags.add_encoder_flags(parser)
    return parser


def _run(argv: Sequence[str] | None) -> int:
    flags, beam_args = options.parse(_parser(), argv)
    if flags.images < FEWEST:
        raise OptionError(f"--images must be {FEWEST} or more, got {flags.images}")
    if not runner.works_here(runner.check_runner(beam_args)):
        flags.engine = engines.settled_elsewhere(flags.engine, flags.precision)  # for the reference as well
    of_encoder = options.Parser()
    encoder_flags.add_encoder_flags(of_encoder)
    with _own_directory(flags.directory, flags.keep) as directory:
        _check_reached(directory, beam_args)
        flow = Flow(
            directory=directory,
            images=flags.images,
            encoder=tuple(options.changed_flags(of_encoder, flags)),
            model=flags.model,
            tolerance=flags.tolerance,
            beam_args=tuple(beam_args),
        )
        checks = list(flow.run())
        differing = sum(check.verdict == DIFFERENT for check in checks)
        if flags.json:
            print(json.dumps(_record(checks, beam_args, directory), indent=2))
        else:
            print(_table(checks, directory))
        if differing:
            raise WorkError(f"{differing} of {len(checks)} comparisons differ; what was made is in {directory}")
    return 0


@contextlib.contextmanager
def _own_directory(parent: str | None, keep: bool) -> Iterator[str]:
    """Yields the address of a new directory; removes it, and parents that were made for it, unless something fails."""
    root = check_writable("--directory", parent) if parent else tempfile.gettempdir()
    directory = join(root, f"heliograph-conformance-{new_run_id(None)}")
    missing = _missing(root)
    yield directory
    if not keep:
        remove_directory(directory)
        with contextlib.suppress(OSError):  # others have put something there meanwhile
            for place in missing:
                os.rmdir(place)


def _missing(root: str) -> list[str]:
    """Returns a local directory and its parents as far as they are not there, the innermost first."""
    found = []
    while is_local(root) and not os.path.lexists(root):
        found.append(root)
        root = os.path.dirname(root)
    return found


def _check_reached(directory: str, beam_args: Sequence[str]) -> None:
    try:
        runner.check_runner(beam_args, [directory])
    except OptionError as error:
        raise OptionError(f"{error}; --directory names a place for what this command makes") from error


def _record(checks: Sequence[Check], beam_args: Sequence[str], directory: str) -> dict[str, Any]:
    return {
        "same": all(check.verdict != DIFFERENT for check in checks),
        "beam_flags": list(beam_args),
        "directory": directory,
        "checks": [check.to_json() for check in checks],
        "versions": software_versions(),
    }


def _table(checks: Sequence[Check], directory: str) -> str:
    """Returns a line a comparison, and below it what differs; addresses are shown below the directory."""
    steps, whats = (max(len(getattr(check, name)) for check in checks) for name in ("step", "what"))
    lines = []
    for check in checks:
        lines.append(f"{check.step:<{steps}}  {check.what:<{whats}}  {check.verdict}")
        lines += [f"{'':<{steps}}    {one.replace(f'{directory}/', '')}" for one in check.differences]
        if check.further:
            lines.append(f"{'':<{steps}}    and {check.further:,} more")
    same = sum(check.verdict == SAME for check in checks)
    return "\n".join([*lines, f"{same} of {len(checks)} comparisons are the same"])


if __name__ == "__main__":
    cli.leave(main())

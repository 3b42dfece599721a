"""What the commands' argument parsers share, and the check of the flags that go to Beam."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import itertools
import logging
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from transforms.errors import OptionError, did_you_mean
from transforms.store.log import parse_version

BEAM_TAKES = ("label", "labels")
"""Flags of Beam's (labels of a Dataflow job) that a person who types them for another runner means otherwise."""

OF_BEAM = 0.8
"""Likeness from which a flag of Beam's is suggested: there are hundreds, and any word is a little like one."""


Action = tuple[str, Callable[[argparse.Namespace], Any], Callable[[argparse.ArgumentParser], None]]
"""Part of a command: its help, its work and what adds its flags."""


class Parser(argparse.ArgumentParser):
    """Ends a wrong call with one line, which names what was nearly right."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Keeps the words of the call for what ``error`` says."""
        self._words = sys.argv[1:] if args is None else args
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raises instead of leaving the process."""
        _, _, missed = message.partition("arguments are required: ")
        raise OptionError(f"{message}{self._meant(missed.split(', ')) if missed else ''} (see {self.prog} --help)")

    def _meant(self, missed: Sequence[str]) -> str:
        """Returns a hint when a word of the call looks like a missed flag, or like the value of the first."""
        flags = [f"--{_name(word)}" for word in self._words if word.startswith("--")]
        for flag in flags:
            if flag not in self._option_string_actions and (hint := did_you_mean(flag, missed)):
                return f"; {flag} is no flag of ours{hint}"
        if missed[0].startswith("--") and self._words and not self._words[0].startswith("-"):
            return f"; did you mean {missed[0]} {self._words[0]}?"
        return ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += did_you_mean(str(value), map(str, action.choices or ()))
            raise


class ActionParser(Parser):
    """Parses an action of a command that runs no pipeline: every flag must be one of its own."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Raises where argparse would leave words to the command, which knows no flags of the action."""
        known, rest = super().parse_known_args(args, namespace)
        for word in rest:
            raise OptionError(f"{word} is nothing that {self.prog} takes{_close_match(_name(word), self, ())}")
        return known, rest


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults where there is one and the help does not tell it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def command_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Returns a parser for ``heliograph NAME`` with the flags that every command has."""
    parser = Parser(
        prog=f"heliograph {name}",
        description=description,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
        epilog="Flags that are not listed here go to Apache Beam (--runner, --project, --temp_location …).",
    )
    parser.add_argument("--json", action="store_true", help="print the run record to standard output")
    return parser


def actions_parser(name: str, description: str, actions: Mapping[str, Action]) -> Parser:
    """Returns a parser for ``heliograph NAME ACTION``, where ``action`` of the flags is one of the actions."""
    parser = Parser(prog=f"heliograph {name}", description=description, allow_abbrev=False)
    parsers = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=ActionParser)
    for action, (words, _, add_flags) in actions.items():
        added = parsers.add_parser(action, help=words, description=words, allow_abbrev=False)
        add_flags(added)
        added.add_argument("--json", action="store_true", help="print the record to standard output")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Parses a command line.

    Returns:
      Our flags, and the flags that go to Beam.

    Raises:
      OptionError: for a flag that neither side knows, since Beam drops it silently.
    """
    known, rest = parser.parse_known_args(_join_negative(sys.argv[1:] if argv is None else argv))
    if rest:
        _check_beam_flags(rest, parser)
    return known, rest


def parse_without_beam(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses a command line that runs no pipeline.

    Raises:
      OptionError: for flags of Beam's.
    """
    flags, beam_args = parse(parser, argv)
    if beam_args:
        name = parser.prog.split()[-1]
        raise OptionError(f"{name} runs no pipeline, so {beam_args[0]} has no effect; leave it out")
    return flags


def _join_negative(argv: Sequence[str]) -> list[str]:
    """Joins ``--pixel-range -1,1`` to one word; argparse takes the second for a flag."""
    joined: list[str] = []
    for word in argv:
        if re.fullmatch(r"-\d[\d.]*,.*", word) and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def command_line(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> str:
    """Returns the command with the flags that are not as they are by default."""
    return shlex.join([*parser.prog.split(), *changed_flags(parser, flags)])


def changed_flags(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> list[str]:
    """Returns those flags of the parser that are not as they are by default, as words of a command line."""
    words: list[str] = []
    for action in parser._actions:
        value = getattr(flags, action.dest, None)
        if action.dest == "json" or value is None or value == action.default:
            continue
        name = action.option_strings[-1]
        if value is True:
            words.append(name)
        else:
            words += [word for one in (value if isinstance(value, list) else [value]) for word in (name, str(one))]
    return words


def add_version_flag(parser: argparse.ArgumentParser) -> None:
    """Adds ``--version`` of a store's table."""
    parser.add_argument(
        "--version",
        type=parse_version,
        metavar="N|TIME",
        help="of the store's table: a number, or the newest at a time such as 2026-03-01T06:00Z (default: the newest)",
    )


def positive(kind: type[int] | type[float]) -> _Positive:
    """Returns an argparse type for numbers above zero."""
    return _Positive(kind)


class _Positive:
    def __init__(self, kind: type[int] | type[float]) -> None:
        self._kind = kind
        self.__name__ = f"positive {kind.__name__}"

    def __call__(self, text: str) -> int | float:
        value = self._kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be positive, got {text}")
        return value


def _check_beam_flags(flags: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Refuses what Beam would drop."""
    for before, word in itertools.pairwise(["", *flags]):
        if not word.startswith("-") and (not before.startswith("-") or "=" in before):
            raise OptionError(f"{word!r} stands alone; a value belongs to a flag (see {parser.prog} --help)")
    for flag in map(_name, flags):
        if flag in BEAM_TAKES and not any("dataflow" in word.lower() for word in flags):
            raise OptionError(f"--{flag} is no flag of ours{_close_match(flag, parser, ())}")
    from apache_beam.options.pipeline_options import PipelineOptions

    logging.getLogger("apache_beam.options.pipeline_options").setLevel(logging.ERROR)
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            options = PipelineOptions(list(flags))
            retained = options.get_all_options(drop_default=True, retain_unknown_options=True)
            understood = options.get_all_options()
    except SystemExit as error:
        lines = stderr.getvalue().strip().splitlines()
        raise OptionError(lines[-1] if lines else f"Beam refuses {' '.join(flags)}") from error
    unknown = [name for name in retained if name not in understood]
    if unknown:
        name = next((flag for flag in map(_name, flags) if flag.replace("-", "_") in unknown), unknown[0])
        raise OptionError(f"--{name} is neither a flag of ours nor of Beam's{_close_match(name, parser, understood)}")


def _name(flag: str) -> str:
    return flag.lstrip("-").split("=", 1)[0]


def _close_match(name: str, parser: argparse.ArgumentParser, of_beam: Iterable[str]) -> str:
    for action in parser._actions:
        if not action.option_strings and name.upper() in re.split(r"\W", str(action.metavar)):
            return f"; give it without a flag: {parser.prog} {action.metavar}"
    ours = [flag for action in parser._actions for flag in action.option_strings]
    theirs = difflib.get_close_matches(f"--{name}", [f"--{flag}" for flag in of_beam], 1, OF_BEAM)
    return did_you_mean(f"--{name}", [*ours, *theirs], f" (see {parser.prog} --help)")

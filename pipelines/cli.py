"""``heliograph COMMAND …``: imports the chosen command only."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NoReturn

from transforms.errors import HeliographError, PlaceError, UsageError, did_you_mean

COMMANDS = {
    "embed": "compute embeddings of images into a feature store",
    "train": "fit a softmax head on stored features, and export a model",
    "cnn": "train a convolutional network from scratch, and export a model",
    "finetune": "train a model's encoder together with its head, and export a model",
    "score": "classify images, or stored features, with a model",
    "evaluate": "measure predictions, overall and per slice, and make a report",
    "store": "list, show, verify, retract, compact, vacuum and export stored features",
    "models": "list, show, promote, roll back, look into and export versions of models",
    "retry": "try the images again that failed",
    "estimate": "tell minutes and cost on a number of workers, from a timed sample",
    "conformance": "whether a runner gives the same answer as the local one",
    "demo": "run all of it on photographs of solar cells",
}
"""Each is a module of this package with ``main(argv) -> int``."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status: 0 done, 1 the work failed, 2 a mistake in the call."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_help())
        return 0 if arguments else 2
    if name == "--version":
        return _print_version()
    if name not in COMMANDS:
        there = did_you_mean(name, COMMANDS, f"; there are {', '.join(COMMANDS)}")
        print(f"heliograph: {name!r} is no command{there}", file=sys.stderr)
        return UsageError.exit_status
    command: Callable[[Sequence[str]], int] = _import_command(name).main
    return command(arguments[1:])


def _import_command(name: str) -> ModuleType:
    """Imports a command without looking for garbage, of which imports leave none: that takes a fifth of the time."""
    module = f"pipelines.{name}"
    if module not in sys.modules:
        gc.disable()
        try:
            importlib.import_module(module)
            gc.freeze()
        finally:
            gc.enable()
    return sys.modules[module]


def run_command(body: Callable[[], int]) -> int:
    """Runs a command's body; ends a mistake or a failure with one line on standard error.

    Returns:
      What the body returns, or the exit status of the HeliographError that it raises.
    """
    try:
        return body()
    except HeliographError as error:
        print(f"heliograph: {_one_line(error)}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        place = PlaceError.of(_one_line(error))
        if place is None and os.environ.get("HELIOGRAPH_TRACEBACK"):
            raise
        said = f"unexpected {type(error).__name__}: {_one_line(error)} (HELIOGRAPH_TRACEBACK=1 shows where)"
        print(f"heliograph: {place or said}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"\nheliograph: {str(error) or 'interrupted; nothing was published'}", file=sys.stderr)
        return INTERRUPTED


def leave(status: int) -> NoReturn:
    """Ends the process at once: a decoder or a runner that is stuck in a thread must not keep it alive."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    logging.shutdown()
    os._exit(status)


def console() -> NoReturn:
    """The command ``heliograph``."""
    try:
        status = main()
    except KeyboardInterrupt:
        print("\nheliograph: interrupted before anything was done", file=sys.stderr)
        status = INTERRUPTED
    leave(status)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: heliograph COMMAND [flags]",
            "",
            "Turns collections of images into a feature store and into classifications, at any scale.",
            "",
            *lines,
            "",
            "heliograph COMMAND --help lists a command's flags; heliograph --version tells the version.",
        ]
    )


def _print_version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"heliograph {version('heliograph')}")
    except PackageNotFoundError:
        print("heliograph (not installed)")
    return 0


if __name__ == "__main__":
    console()

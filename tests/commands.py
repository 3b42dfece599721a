"""Commands as a person runs them: words in; exit status, standard output and standard error out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

Run = Callable[..., tuple[int, str, str]]


def runner(main: Callable[[Sequence[str]], int], capsys: pytest.CaptureFixture[str], *first: object) -> Run:
    """Returns what runs ``main`` with the words ``first`` and those that it is given."""

    def call(*argv: object) -> tuple[int, str, str]:
        status = main([str(word) for word in (*first, *argv)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call

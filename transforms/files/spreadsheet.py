"""CSV that a person may open in a spreadsheet: no text is taken for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def neutral(text: str) -> str:
    """Returns a text that no spreadsheet takes for a formula: an apostrophe before a leading ``= + - @`` or tab."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_lines(rows: Iterable[Sequence[str]]) -> str:
    """Returns rows as CSV text, each cell made neutral."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([neutral(cell) for cell in row] for row in rows)
    return text.getvalue()

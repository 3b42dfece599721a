"""A page of pictures to look at: images side by side with what is to be judged about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipelines.report.assets import render_plain
from pipelines.report.thumbnails import thumbnails

SHOWN = 60
"""Entries on a page; the table beside it has them all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """What is shown together.

    Attributes:
      images: address and what it is for somebody who cannot see it, of each picture.
      lines: what is to be said of them.
      doubt: the line that somebody should look at first, in another colour.
    """

    images: Sequence[tuple[str, str]]
    lines: Sequence[str]
    doubt: str = ""


def render_gallery(title: str, lead: str, entries: Sequence[Entry], table: str) -> str:
    """Returns the page: one file, no network, no scripts.

    Args:
      title: of the page.
      lead: what is seen and what to do about it, a paragraph each line.
      entries: the first SHOWN are on the page.
      table: name of the file beside it that has all of them.
    """
    chosen = entries[:SHOWN]
    pictures = iter(thumbnails([uri for entry in chosen for uri, _ in entry.images]))
    shown = [
        {
            "pictures": [(next(pictures), text, uri) for uri, text in entry.images],
            "lines": entry.lines,
            "doubt": entry.doubt,
        }
        for entry in chosen
    ]
    return render_plain(
        "gallery.html", title=title, lead=lead.splitlines(), entries=shown, total=len(entries), table=table
    )

"""A report: a page of sections in one HTML file that needs no network and runs nothing but its own scripts.

Each command that makes a report has a module that lists its sections, as evaluation.py does for ``evaluate``. To add
a section:

1. ``sections/<thing>.py`` has a function that returns a Section, or None when there is nothing to show. It gives the
   template plain data, charts as Plotly figures in plain dictionaries (charts.py has their parts), and the addresses
   of the images that it would like to show.
2. ``sections/<thing>.html`` shows them: what stands between the section's heading and its end. ``data`` is the
   section's, ``picture(uri)`` gives an image's place among the page's thumbnails (None where there is none), and
   ``parts`` has what the sections share: ``parts.chart(section, name, label)``, ``parts.table(...)``,
   ``parts.gallery(entries, ...)``, ``parts.image(uri, text)``.
3. The page's list names the function.

The page brings the rest: navigation, colours in light and dark, sorting of every ``table.sortable``, panels that
``button[aria-controls]`` and ``select.panels`` open (page.js), thumbnails within THUMBNAILS and THUMBNAIL_BYTES, and
the policy with the hashes of its scripts. Templates escape everything; a script or a style in a fragment cannot run.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pipelines.report import charts
from pipelines.report.assets import asset, content_policy, environment
from pipelines.report.thumbnails import thumbnails

REPORT = "report.html"
"""What a report is called in the directory of what it tells about."""

THUMBNAILS = 300
"""Images that are tried for a page at most, in the order in which its sections want them."""

THUMBNAIL_BYTES = 2_500_000
"""What they may take; with the library for charts, 4.8 MB, a page stays under 8 MB."""

_EMPTY_STYLE = ""  # Plotly adds an empty style element and fills it through the object model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page under a heading of its own.

    Attributes:
      id: of the element, unique on the page; links go to it.
      title: the heading.
      short: the word or two that stand in the navigation.
      template: sections/<template>.html shows it.
      data: what the template shows.
      charts: Plotly figures by name, as plain data.
      images: addresses that ``picture`` can be asked for, the most important first.
      half: it may stand beside a neighbour that is a half, too.
      alert: it is a warning.
    """

    id: str
    title: str
    short: str
    template: str
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    charts: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    images: Sequence[str] = ()
    half: bool = False
    alert: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """One figure at the top, with its name above and a few words below."""

    name: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """What a report tells.

    Attributes:
      run_id: of the run that made it.
      title: of the window.
      kicker: what it is about, of which version, when; above the verdict.
      verdict: the result in a sentence, with its interval.
      against: the result against something else, a sentence each.
      findings: what stands out, a sentence each.
      advice: what to do next: a sentence and the id of the section that shows why.
      cards: the main figures.
      sections: the rest; None is left out.
      footer: the last line.
    """

    run_id: str
    title: str
    kicker: str
    verdict: str
    against: Sequence[str] = ()
    findings: Sequence[str] = ()
    advice: Sequence[tuple[str, str]] = ()
    cards: Sequence[Card] = ()
    sections: Iterable[Section | None] = ()
    footer: str = ""


def render(page: Page) -> str:
    """Returns the page as HTML."""
    sections = [section for section in page.sections if section]
    style, script = asset("page.css"), asset("page.js")
    library = charts.library() if any(section.charts for section in sections) else ""
    wanted = list(dict.fromkeys(uri for section in sections for uri in section.images))
    shown = _within_budget(wanted)
    places = {uri: place for place, uri in enumerate(shown)}
    templates = environment()
    templates.globals["picture"] = places.get
    return templates.get_template("page.html").render(
        page=page,
        sections=sections,
        names={section.id: section.short for section in sections},
        rows=[(half, list(group)) for half, group in itertools.groupby(sections, key=lambda section: section.half)],
        pictures=list(shown.values()),
        style=Markup(style),
        script=Markup(script),
        library=Markup(library),
        style_ids=charts.style_ids() if library else [],
        policy=content_policy(scripts=(library, script) if library else (script,), styles=(style, _EMPTY_STYLE)),
    )


def _within_budget(wanted: Sequence[str]) -> dict[str, str]:
    """Returns the pictures of the first addresses, as many as a page may hold."""
    shown: dict[str, str] = {}
    room = THUMBNAIL_BYTES
    chosen = wanted[:THUMBNAILS]
    for uri, picture in zip(chosen, thumbnails(chosen), strict=True):
        if picture and len(picture) <= room:
            shown[uri] = picture
            room -= len(picture)
    return shown

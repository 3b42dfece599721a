"""The chart of docs/performance.md: bars of images a second, as SVG that is readable on light and on dark."""

from __future__ import annotations

import html
import statistics
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, ROW, LEFT, RIGHT, TOP = 860, 24, 270, 70, 64
CLASSES = {"heliograph": "ours", "same network": "same", "as documented": "own"}
STYLE = (
    "text{font:13px sans-serif;fill:#1b1f24}.ours{fill:#1f5fa8}.same{fill:#8a5a00}.own{fill:#6b7280}"
    ".line{stroke:#1b1f24;stroke-width:1.5}.grid{stroke:#1b1f24;stroke-opacity:.15}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#6cb0f5}.same{fill:#e0a030}.own{fill:#9aa4b2}"
    ".line,.grid{stroke:#e6edf3}}"
)


class Bar(NamedTuple):
    """A job.

    Attributes:
      name: of the job.
      group: a key of CLASSES.
      values: images a second, start included, of each round.
      steady: images a second without the start, of each round.
    """

    name: str
    group: str
    values: Sequence[float]
    steady: Sequence[float]


def bars_svg(title: str, bars: Sequence[Bar]) -> str:
    """Returns the bars from the fastest on, with a line from the least to the most round and a dot at steady speed."""
    most = max(max(*bar.values, *bar.steady) for bar in bars)
    scale = (WIDTH - LEFT - RIGHT) / most
    height = TOP + ROW * len(bars) + 12
    step = next(step for step in (10, 20, 50, 100, 200, 500, 1000) if most / step <= 8)
    grid = "".join(
        f'<line class="grid" x1="{LEFT + value * scale:.1f}" x2="{LEFT + value * scale:.1f}" y1="{TOP - 4}" '
        f'y2="{height - 8}"/><text x="{LEFT + value * scale:.1f}" y="{TOP - 9}" text-anchor="middle">{value}</text>'
        for value in range(0, int(most) + 1, step)
    )
    rows = "".join(
        _row(bar, TOP + place * ROW, scale)
        for place, bar in enumerate(sorted(bars, key=lambda bar: -statistics.median(bar.values)))
    )
    legend = "".join(
        f'<rect class="{name}" x="{LEFT + 190 * place}" y="28" width="12" height="12"/>'
        f'<text x="{LEFT + 17 + 190 * place}" y="39">{group}</text>'
        for place, (group, name) in enumerate(CLASSES.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{html.escape(title)}"><style>{STYLE}</style>'
        f'<text x="4" y="18" font-weight="bold">{html.escape(title)}</text>{legend}{grid}{rows}</svg>\n'
    )


def _row(bar: Bar, top: float, scale: float) -> str:
    median = statistics.median(bar.values)
    low, high = LEFT + min(bar.values) * scale, LEFT + max(bar.values) * scale
    steady = LEFT + statistics.median(bar.steady) * scale
    middle = top + ROW / 2
    return (
        f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{html.escape(bar.name)}</text>'
        f'<rect class="{CLASSES[bar.group]}" x="{LEFT}" y="{top + 4}" width="{median * scale:.1f}" height="{ROW - 8}"/>'
        f'<line class="line" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle class="{CLASSES[bar.group]}" cx="{steady:.1f}" cy="{middle}" r="4"/>'
        f'<text x="{max(steady, high, LEFT + median * scale) + 8:.1f}" y="{middle + 4}">{median:.0f}</text>'
    )

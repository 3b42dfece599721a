"""Writes docs/performance.md and its chart from the figures that the benchmark kept."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from benchmarks import chart, goals
from benchmarks.goals import FLOAT32, column, job, limits, number, ratios, spread
from benchmarks.jobs import OURS, TOTAL
from benchmarks.photographs import LARGE, MIDDLE, SMALL

TEMPLATE = Path(__file__).with_name("performance.md.jinja")
CHART = "figures/performance.svg"


def write(figures: Mapping[str, Any], target: Path) -> None:
    """Writes the page, and the chart below its directory."""
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(TEMPLATE.read_text())
    found = goals.goals(figures)
    page = template.render(
        about=figures["about"],
        versions=", ".join(
            f"{name} {version}" for name, version in figures["about"]["versions"].items() if version[0].isdigit()
        ),
        missing=figures.get("missing", {}),
        met=sum(goal.is_met for goal in found if goal.values),
        measured=sum(bool(goal.values) for goal in found),
        goals=table(["what", "goal", "median (least–most)", ""], [goal.cells() for goal in found]),
        jobs=jobs_table(figures),
        parts=parts_table(figures),
        limits=limits_table(figures),
        heads=heads_table(figures),
        growth=growth_table(figures),
        profile=profile_table(figures),
        stored=figures.get("stored", {}),
        overhead=figures.get("overhead", {}).get("pipeline", []),
        median=statistics.median,
        chart=CHART,
        total=f"{TOTAL:,}",
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page)
    drawing = target.parent / CHART
    drawing.parent.mkdir(parents=True, exist_ok=True)
    bars = [
        chart.Bar(name, goals.group_of(name), job(figures, name, "with_start"), job(figures, name, "steady"))
        for name in figures.get("jobs", {})
    ]
    if bars:
        title = f"Images a second, {TOTAL:,} photographs of {SMALL}, start included (dot: steady)"
        drawing.write_text(chart.bars_svg(title, bars))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def jobs_table(figures: Mapping[str, Any]) -> str:
    """Returns the whole job, from the fastest on."""
    names = sorted(figures.get("jobs", {}), key=lambda name: -statistics.median(job(figures, name, "with_start")))
    ours = job(figures, FLOAT32, "with_start")
    rows = []
    for name in names:
        bold = f"**{name}**" if goals.group_of(name) == OURS else name
        share = ratios(job(figures, name, "steady"), limits(figures, name)) if goals.group_of(name) == OURS else []
        rows.append(
            [
                bold,
                spread(job(figures, name, "with_start"), 0),
                spread(job(figures, name, "steady"), 0),
                spread(job(figures, name, "first_seconds"), 1),
                spread(job(figures, name, "peak_mb"), 0),
                spread(share, 2) if share else "",
                spread(ratios(ours, job(figures, name, "with_start")), 2),
                number(statistics.median(job(figures, name, "cosine")), 4),
                number(job(figures, name, "images")[0], 0),
            ]
        )
    header = ["", "images/s, start included", "images/s, steady", "s to the first", "peak MB", "of its limit"]
    return table([*header, f"{FLOAT32} ÷ it", "cosine", "images measured"], rows)


def parts_table(figures: Mapping[str, Any]) -> str:
    """Returns decoding by size."""
    rows = []
    for size in (SMALL, MIDDLE, LARGE):
        scaled = column(figures, "parts", f"decode {size}", "images_per_second")
        full = column(figures, "parts", f"decode {size} in full", "images_per_second")
        if scaled and full:
            rows.append([str(size), spread(scaled, 0), spread(full, 0), spread(ratios(scaled, full), 2)])
    return table(["decoding and resizing, one core", "images/s", "decoded in full", "ratio"], rows)


def limits_table(figures: Mapping[str, Any]) -> str:
    """Returns the network alone, the limit and the loop, by engine."""
    rows, cores = [], figures["about"]["cores"]
    engines = [name.removeprefix("loop ") for name in figures.get("parts", {}) if name.startswith("loop ")]
    for engine in engines:
        one, every = (
            column(figures, "parts", f"network {engine} on {used}", "images_per_second") for used in (1, cores)
        )
        loaded = column(figures, "parts", f"network {engine} on {cores}", "load_seconds")
        loop = column(figures, "parts", f"loop {engine}", "images_per_second")
        if one and every:
            cells = [spread(values, 0) for values in (one, every, limits(figures, engine), loop)]
            rows.append([engine, *cells, spread(loaded, 1)])
    header = ["", "network, one core", f"network, {cores} cores", "limit of the job", "loop without Beam", "s to load"]
    return table(header, rows)


def heads_table(figures: Mapping[str, Any]) -> str:
    """Returns the seconds to the same loss."""
    ours = column(figures, "heads", "heliograph", "seconds")
    rows = [
        [name, spread(found, 2), spread(ratios(found, ours), 2)]
        for name in figures.get("heads", {})
        if (found := column(figures, "heads", name, "seconds"))
    ]
    return table(["fitting the head", "s to the same validation loss", "of ours"], rows)


def growth_table(figures: Mapping[str, Any]) -> str:
    """Returns seconds and memory by the number of images."""
    rows = []
    before: Mapping[str, Any] | None = None
    for row in figures.get("growth", {}).get("small encoder", ()):
        more = ""
        if before is not None:
            more = f"{(row['seconds'] - before['seconds']) / (row['images'] - before['images']) * 1e6:,.0f}"
        rows.append([f"{row['images']:,}", number(row["seconds"], 1), more, number(row["peak_mb"], 0)])
        before = row
    return table(["images", "seconds", "µs for each more", "peak MB"], rows)


def profile_table(figures: Mapping[str, Any]) -> str:
    """Returns where the threads are."""
    rows = []
    for name, found in figures.get("profile", {}).items():
        row = found[-1]
        total = sum(row["places"].values())
        rows += [
            [f"{name}: {place}", number(seconds, 2), f"{seconds / total:.0%}"]
            for place, seconds in row["places"].items()
            if seconds / total >= 0.002
        ]
        clock = (
            f"**{number(row['seconds'], 1)}** on the clock, **{number(row['processor_seconds'], 1)}** of the processor"
        )
        rows.append([f"{name}: all, {row['images']:,} images", clock, ""])
    return table(["place", "seconds of threads", "share"], rows)

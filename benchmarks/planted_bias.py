"""A data set with a planted bias, to show what the remedies of ``heliograph train`` do.

    python benchmarks/planted_bias.py DIRECTORY [--seed N]     writes the pictures and manifest.csv
    python benchmarks/planted_bias.py DIRECTORY --measure 5    embeds five of them and trains with each remedy

Each picture shows grains on a plate under a cool or a warm lamp; in half of them a dark crack runs over the plate. In
the training split nearly all pictures under the warm lamp are cracked and nearly all under the cool lamp are sound; in
validation and test the lamp says nothing. A head fitted on them calls sound pictures under the warm lamp cracked.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipelines import embed
from pipelines.training import outcome
from pipelines.training.checks import CheckSettings
from pipelines.training.fit_settings import FitSettings
from pipelines.training.lab import LabSettings
from pipelines.training.leaks import OFF, LeakSettings
from pipelines.training.mindiff import MinDiff
from pipelines.training.remedy_settings import RemedySettings
from transforms.store.catalog import open_table

LABELS, LAMPS = ("cracked", "sound"), ("cool", "warm")
SIZES = {"train": 1000, "validation": 600, "test": 1000}
PLANTED = 0.95
"""Share of the training pictures whose lamp goes with their label."""

WITHOUT_LEAKS = CheckSettings(leaks=LeakSettings(action=OFF))
MINDIFF = MinDiff(attribute="lamp", values=("warm",), label="cracked")
REMEDIES = {
    "--rebalance": RemedySettings(rebalance="lamp", positive_label="cracked"),
    "--mindiff": RemedySettings(mindiff=MINDIFF, positive_label="cracked"),
    "--slice-thresholds": RemedySettings(slice_thresholds="lamp", positive_label="cracked"),
}


class Picture(NamedTuple):
    """One drawn picture and what is true of it."""

    pixels: np.ndarray
    split: str
    label: str
    lamp: str


def draw_set(seed: int, sizes: dict[str, int] | None = None, edge: int = 64) -> list[Picture]:
    """Draws a data set; the same seed gives the same pictures."""
    chance = np.random.default_rng(seed)
    pictures = []
    for split, size in (sizes or SIZES).items():
        for _ in range(size):
            cracked = bool(chance.random() < 0.5)
            warm = cracked if chance.random() < PLANTED else not cracked
            if split != "train":
                warm = bool(chance.random() < 0.5)
            pixels = draw(cracked, warm, chance, edge)
            pictures.append(Picture(pixels, split, LABELS[not cracked], LAMPS[warm]))
    return pictures


def draw(cracked: bool, warm: bool, chance: np.random.Generator, edge: int = 64) -> np.ndarray:
    """Draws a plate of grains, ``uint8[edge, edge, 3]``; over a cracked one runs a dark line."""
    image = Image.new("L", (4 * edge, 4 * edge), int(chance.integers(150, 200)))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        radius, (x, y) = edge * chance.uniform(0.35, 0.7), chance.uniform(0.5 * edge, 3.5 * edge, 2)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(chance.integers(80, 220)))
    if cracked:
        steps = chance.normal(0, edge * 0.22, (9, 2)) + chance.normal(0, edge * 0.28, 2)
        points = chance.uniform(edge, 3 * edge, 2) + np.cumsum(steps, axis=0)
        pen.line([tuple(point) for point in points], fill=int(chance.integers(40, 110)), width=3)
    grey = np.asarray(image.filter(ImageFilter.GaussianBlur(edge / 40)).resize((edge, edge)), np.float64)
    lamp = np.array([1.1, 1.0, 0.85] if warm else [0.88, 0.98, 1.12]) * chance.normal(1, 0.03, 3)
    noisy = grey[..., None] * lamp + chance.normal(0, 7, (edge, edge, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def describe(pixels: np.ndarray) -> np.ndarray:
    """Returns some statistics of a picture, ``float32[21]``: enough for a head where an encoder would take too long."""
    values = pixels.astype(np.float32) / 255
    grey = values.mean(axis=2)
    found = [*values.mean(axis=(0, 1))]
    for step in (1, 2, 4):
        small = grey[: len(grey) // step * step, : len(grey) // step * step]
        small = small.reshape(len(small) // step, step, -1, step).mean(axis=(1, 3))
        slopes = np.hypot(np.diff(small, axis=0)[:, :-1], np.diff(small, axis=1)[:-1])
        found += [*np.quantile(slopes, (0.5, 0.9, 0.98, 1.0)), *np.quantile(small, (0.0, 0.02))]
    return np.array(found, np.float32)


def write(directory: Path, seed: int) -> Path:
    """Writes the pictures of a seed as PNG files with a manifest, whose path is returned."""
    manifest = directory / "manifest.csv"
    if manifest.exists():
        return manifest
    directory.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, picture in enumerate(draw_set(seed)):
        name = f"{number:05}.png"
        Image.fromarray(picture.pixels).save(directory / name)
        lines.append((name, picture.label, picture.split, picture.lamp))
    with manifest.open("w", newline="") as stream:
        csv.writer(stream).writerows([("uri", "label", "split", "lamp"), *lines])
    return manifest


def measure(directory: Path, seeds: int) -> list[dict[str, Any]]:
    """Embeds the sets of some seeds and trains with each remedy; returns figures of the test split, kept as JSON."""
    results = directory / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for seed in range(seeds):
        place = directory / str(seed)
        manifest = write(place / "images", seed)
        if not (place / "store").exists():
            embed.main(["--input", str(manifest), "--store", str(place / "store")])
        table = open_table(str(place / "store"), None, None)
        for name, remedies in REMEDIES.items():
            if any((row["seed"], row["remedy"]) == (seed, name) for row in rows):
                continue
            found = outcome.from_memory(table, FitSettings(), LabSettings(), WITHOUT_LEAKS, remedies)
            stages = found.metrics["remedies"]["before_and_after"][-1]["stages"]
            rows.append({"seed": seed, "remedy": name, "before": figures(stages[0]), "after": figures(stages[-1])})
            with results.open("a") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
    return rows


def figures(stage: dict[str, Any]) -> dict[str, float]:
    """Accuracy and gap of a stage, and the false positive rate under each lamp."""
    rates = {entry["value"]: entry["false_positive_rate"]["value"] for entry in stage["slices"]}
    return {"accuracy": stage["accuracy"]["value"], "gap": stage["false_positive_rate_gap"]["value"], **rates}


def table_of(rows: list[dict[str, Any]]) -> str:
    """Returns the means over seeds as Markdown, with the least and the largest gap."""
    lines = [
        "| | accuracy | false positive rate, cool | warm | gap (least to largest of the seeds) |",
        "|---|---|---|---|---|",
    ]
    first = [row["before"] for row in rows if row["remedy"] == "--rebalance"]
    for name, found in [
        ("without", first),
        *((name, [r["after"] for r in rows if r["remedy"] == name]) for name in REMEDIES),
    ]:
        mean = {key: sum(entry[key] for entry in found) / len(found) for key in found[0]}
        gaps = [entry["gap"] for entry in found]
        lines.append(
            f"| {name} | {mean['accuracy']:.3f} | {mean['cool']:.3f} | {mean['warm']:.3f} | "
            f"{mean['gap']:.3f} ({min(gaps):.3f} to {max(gaps):.3f}) |"
        )
    return "\n".join(lines)


def chart(rows: list[dict[str, Any]]) -> str:
    """Returns the gap of each seed before and after as SVG: a dot a seed, a bar for the mean."""
    groups = [("without", [row["before"]["gap"] for row in rows if row["remedy"] == "--rebalance"])]
    groups += [(name, [row["after"]["gap"] for row in rows if row["remedy"] == name]) for name in REMEDIES]
    top, parts = max(max(gaps) for _, gaps in groups) * 1.1, []
    for place, (name, gaps) in enumerate(groups):
        y, mean = 34 + 44 * place, sum(gaps) / len(gaps)
        parts.append(f'<text x="150" y="{y + 5}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="160" y="{y - 11}" width="{400 * mean / top:.1f}" height="22" fill="#a8c5e5"/>')
        parts += [f'<circle cx="{160 + 400 * gap / top:.1f}" cy="{y}" r="4" fill="#1f5fa8"/>' for gap in gaps]
        parts.append(f'<text x="575" y="{y + 5}">{mean:.3f}</text>')
    title = "Gap between the false positive rates under the two lamps: mean (bar) and seeds (dots)"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 210" width="640" height="210" role="img" '
        f'font-family="sans-serif" font-size="13"><title>{title}</title><rect width="100%" height="100%" fill="#fff"/>'
        f'{"".join(parts)}<text x="160" y="202" font-size="12">{title}</text></svg>\n'
    )


def sheet() -> Image.Image:
    """Returns training pictures of each label (rows) as they come, cracked first, side by side."""
    found = draw_set(0, {"train": 60})
    rows = [np.concatenate([one.pixels for one in found if one.label == label][:12], axis=1) for label in LABELS]
    return Image.fromarray(np.concatenate(rows))


def main() -> None:
    """Writes the data set that the command line asks for, or measures the remedies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", type=int, metavar="SEEDS", help="embed so many sets, train, print the table")
    parser.add_argument("--pictures", type=Path, help="where the chart and the sheet of pictures go")
    flags = parser.parse_args()
    if not flags.measure:
        print(write(flags.directory, flags.seed))
        return
    rows = measure(flags.directory, flags.measure)
    print(table_of(rows))
    if flags.pictures:
        flags.pictures.mkdir(parents=True, exist_ok=True)
        (flags.pictures / "planted_bias.svg").write_text(chart(rows))
        sheet().save(flags.pictures / "planted_bias.jpg", quality=85)


if __name__ == "__main__":
    main()

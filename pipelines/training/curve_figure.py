"""A learning curve as a picture (SVG) and as Markdown for the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WIDTH, HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 16, 44
_SHOWN_CLASSES = 20


def curve_svg(curve: Mapping[str, Any]) -> bytes:
    """Returns accuracy against training images, with a band for the interval."""
    points = curve["points"]
    low = min(point["interval"][0] for point in points)
    high = max(point["interval"][1] for point in points)
    span = max(high - low, 0.01)
    most = points[-1]["images"]

    def place(images: float, value: float) -> str:
        x = _LEFT + images / most * (WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high - value) / span * (HEIGHT - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    upper = [place(point["images"], point["interval"][1]) for point in points]
    lower = [place(point["images"], point["interval"][0]) for point in reversed(points)]
    line = " ".join(place(point["images"], point["accuracy"]) for point in points)
    marks = []
    for point in points:
        x, y = place(point["images"], point["accuracy"]).split(",")
        marks.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="#1f5fa8"/>')
        marks.append(f'<text x="{x}" y="{HEIGHT - 26}" text-anchor="middle">{point["images"]:,}</text>')
    for value in (low, (low + high) / 2, high):
        y = place(0, value).split(",")[1]
        marks.append(f'<line x1="{_LEFT}" y1="{y}" x2="{WIDTH - _RIGHT}" y2="{y}" stroke="#ddd"/>')
        marks.append(f'<text x="{_LEFT - 6}" y="{y}" text-anchor="end" dominant-baseline="middle">{value:.1%}</text>')
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="sans-serif" font-size="12"><title>Accuracy on the {curve["split"]} split against '
        f'training images</title><rect width="100%" height="100%" fill="#fff"/>{"".join(marks[len(points) * 2 :])}'
        f'<polygon points="{" ".join([*upper, *lower])}" fill="#1f5fa8" fill-opacity=".18"/>'
        f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="2"/>{"".join(marks[: len(points) * 2])}'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">training images</text></svg>\n'
    )
    return text.encode()


def curve_markdown(curve: Mapping[str, Any]) -> str:
    """Returns the section of the model card: the figure, the points, and what more labels of a class may buy."""
    lines = [
        "![Accuracy against training images](learning_curve.svg)",
        "",
        f"Heads fitted on parts of the training split, measured on the {curve['split']} split "
        f"({curve['images']:,} images):",
        "",
        "| share of the labels | images | accuracy | 95 % interval |",
        "|---|---|---|---|",
    ]
    for point in curve["points"]:
        low, high = point["interval"]
        lines.append(
            f"| {point['share']:.0%} | {point['images']:,} | {point['accuracy']:.3f} | {low:.3f} to {high:.3f} |"
        )
    lines += ["", "What the last doubling of the labels has bought, which the next one seldom exceeds:", ""]
    lines += ["| class | training images | recall gained | 95 % interval |", "|---|---|---|---|"]
    for entry in most_to_gain(curve)[:_SHOWN_CLASSES]:
        low, high = entry["interval"]
        name = " ".join(entry["name"].split()).replace("|", "\\|")
        lines.append(f"| {name} | {entry['images']:,} | {entry['gain']:+.3f} | {low:+.3f} to {high:+.3f} |")
    return "\n".join(lines)


def most_to_gain(curve: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the classes that were measured, those first that gained most."""
    return sorted((entry for entry in curve["classes"] if entry["gain"] is not None), key=lambda entry: -entry["gain"])

"""What is taken for what: the matrix, with the images of each cell, or the most frequent mistakes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from pipelines.report.page import Section

MATRIX_CLASSES = 40
"""With more classes the page shows the most frequent mistakes only; metrics.json has the matrix."""

MISTAKES = 12

PANELS = 150
"""Cells at most that show images: the most frequent mistakes, then what is right."""


def confusion(metrics: Mapping[str, Any], pictures: bool) -> Section:
    """Returns the section.

    Args:
      metrics: as metrics.schema.json describes them.
      pictures: whether the images of a cell are shown.
    """
    matrix = metrics["confusion_matrix"]
    shown = bool(matrix["rows"]) and len(matrix["labels"]) <= MATRIX_CLASSES
    panels = _panels(matrix) if shown and pictures else {}
    large = len(matrix["labels"]) <= 4
    return Section(
        id="confusion",
        title="What is taken for what",
        short="Confusions",
        template="confusion",
        data={
            "matrix": _lines(matrix, panels) if shown else None,
            "large": large,
            "panels": list(panels.values()),
            "mistakes": [
                [entry["label"], entry["prediction"], (f"{entry['rows']:,}", entry["rows"])]
                for entry in matrix["largest"][:MISTAKES]
            ],
            "classes": len(metrics["classes"]),
            "multi_label": metrics["multi_label"],
        },
        images=_in_turn([panel["images"] for panel in panels.values()]),
        half=large,
    )


def _panels(matrix: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """By label and prediction, what opens when the cell is chosen; mistakes first, the most frequent before others."""
    place = {name: index for index, name in enumerate(matrix["labels"])}
    cells = []
    for entry in matrix["examples"]:
        row, column = place[entry["label"]], place[entry["prediction"]]
        cells.append((row == column, -matrix["rows"][row][column], f"cell-{row}-{column}", entry))
    return {
        (entry["label"], entry["prediction"]): {**entry, "id": identifier, "rows": -rows, "right": right}
        for right, rows, identifier, entry in sorted(cells, key=lambda cell: cell[:3])[:PANELS]
    }


def _in_turn(groups: list[list[dict[str, Any]]]) -> list[str]:
    """The addresses of every group's first image, then of every second one, and so on."""
    turns = itertools.zip_longest(*groups)
    return [image["image_uri"] for turn in turns for image in turn if image]


def _lines(matrix: Mapping[str, Any], panels: Mapping[tuple[str, str], Any]) -> list[dict[str, Any]]:
    """The lines of the table: label and cells, each with its share of the line and a heat from 0 to 10."""
    lines = []
    for index, (label, counts) in enumerate(zip(matrix["labels"], matrix["rows"], strict=True)):
        total = sum(counts)
        cells = [
            {
                "rows": count,
                "prediction": matrix["labels"][column],
                "share": count / total if total else None,
                "heat": math.ceil(10 * count / total) if total else 0,
                "right": column == index,
                "panel": panels.get((label, matrix["labels"][column]), {}).get("id"),
            }
            for column, count in enumerate(counts)
        ]
        lines.append({"label": label, "cells": cells, "total": total})
    return lines

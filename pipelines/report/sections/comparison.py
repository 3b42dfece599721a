"""Two models on the same images: who is right more often, what flipped, and which images each gets right alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.assets import chance, signed, signed_interval
from pipelines.report.charts import interval_chart
from pipelines.report.page import Section
from pipelines.report.sections.slices import POINTS, ROWS
from pipelines.report.verdict import comparison_verdict, percent


def comparison(found: Mapping[str, Any] | None, shown: int) -> Section | None:
    """Returns the section, from ``comparison`` of metrics.schema.json; None without one.

    Args:
      found: the field.
      shown: how many images of each kind are shown.
    """
    if not found:
        return None
    overall = found["overall"]
    parts = [
        (f"{attribute} = {part['value']}" + (" (small)" if part["small"] else ""), part["overall"])
        for attribute, entries in found["slices"].items()
        for part in entries
        if part["overall"]["rows"] < overall["rows"]
    ]
    parts.sort(key=lambda part: -(part[1]["difference"] or 0))
    points = [("all rows", *_gain(overall)), *((name, *_gain(pair)) for name, pair in parts[: POINTS - 1])]
    alone = [("lost", "second"), ("won", "first")]
    return Section(
        id="comparison",
        title="Against the previous model",
        short="Comparison",
        template="comparison",
        data={
            "sentence": comparison_verdict(found),
            "second": found["second"],
            "overall": overall,
            "unpaired": {name: found[name] for name in ("only_first", "only_second", "duplicates")},
            "flips": [_flips(entry) for entry in found["classes"][:ROWS]],
            "threshold": found["threshold"],
            "slices": [_row(name, pair) for name, pair in parts[:ROWS]],
            **{kind: found["right_alone"][side][:shown] for kind, side in alone},
        },
        charts={"forest": interval_chart(points, 0.0, "no difference", "+.2~%")} if overall["rows"] else {},
        images=[image["image_uri"] for _, side in alone for image in found["right_alone"][side][:shown]],
    )


def _gain(pair: Mapping[str, Any]) -> tuple[float | None, tuple[float | None, float | None]]:
    """This model's accuracy less the other's; the figures have it the other way round."""
    low, high = pair["difference_interval"]
    turned = None if pair["difference"] is None else 0.0 - pair["difference"]
    return turned, (None, None) if low is None or high is None else (0.0 - high, 0.0 - low)


def _row(name: str, pair: Mapping[str, Any]) -> list[Any]:
    gain, ends = _gain(pair)
    return [
        name,
        (f"{pair['rows']:,}", pair["rows"]),
        (percent(pair["first_accuracy"]), pair["first_accuracy"]),
        (percent(pair["second_accuracy"]), pair["second_accuracy"]),
        (signed(gain), gain),
        (signed_interval(ends), ends[0]),
        (percent(pair["changed"]), pair["changed"]),
        (chance(pair["p_value"]), pair["p_value"]),
    ]


def _flips(entry: Mapping[str, Any]) -> list[Any]:
    shares = ((percent(entry[name]), entry[name]) for name in _FLIPS)
    return [entry["name"], *shares]


_FLIPS = ("positive_to_negative", "negative_to_positive", "symmetric")

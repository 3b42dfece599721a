"""What the actions of ``heliograph models`` take and what they say: their flags and their words for a person."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from pipelines import inputs
from pipelines.report.page import REPORT
from pipelines.report.sections.network import HEAT
from pipelines.report.verdict import percent
from pipelines.run_record import columns
from transforms.errors import OptionError
from transforms.measures.remarks import plural

Record = Mapping[str, Any]
_SHOWN_LABELS = 10


def list_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of list."""
    parser.add_argument("models", nargs="+", metavar="MODEL|DIR", help="a model, or a directory that models lie in")


def show_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of show."""
    parser.add_argument("model", metavar="MODEL", help="MODEL (its newest version), MODEL/<n> or MODEL@alias")


def rollback_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of rollback."""
    parser.add_argument("model", metavar="MODEL@ALIAS", help="the alias that goes back")


def promote_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of promote."""
    parser.add_argument("model", metavar="MODEL", help="the candidate: MODEL (its newest version), /<n> or @alias")
    parser.add_argument("--to", required=True, metavar="ALIAS", help="that shall name it, such as production")
    check = parser.add_argument_group(
        "check",
        "With --input both versions classify held-back images, and the alias moves unless the candidate is worse by "
        "McNemar's test (5 %, Holm's correction for slices). Images that either was trained on prove nothing.",
    )
    check.add_argument(
        "--slice", action="append", metavar="ATTRIBUTE", help="compare on each of its values as well; several times"
    )
    check.add_argument(
        "--largest-loss",
        type=float,
        metavar="SHARE",
        help="demand besides that the 95 %% interval of the difference excludes a larger loss, such as 0.02",
    )
    inputs.add_source_flags(parser, required=False)


def export_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of export."""
    show_flags(parser)
    parser.add_argument("--format", choices=["litert"], default="litert", help="of the file (default: litert)")
    parser.add_argument("--output", required=True, metavar="FILE.tflite", help="FILE.json beside it describes it")
    parser.epilog = "The difference to batch scoring is measured on the images of --input, or else on the golden ones."
    inputs.add_source_flags(parser, required=False)


def pictures_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of pictures."""
    show_flags(parser)
    parser.add_argument("--output", metavar="DIR", help="where the pictures and a page with all of them go")
    parser.add_argument(
        "--layers",
        metavar="NAME[,NAME…]",
        help="whose feature maps are drawn (default: one at the beginning, in the middle and at the end)",
    )
    parser.epilog = "Without --input and --output it lists the layers that can be drawn."
    inputs.add_source_flags(parser, required=False)


def check_promotion_flags(flags: argparse.Namespace) -> None:
    """Refuses flags of the check without images to check on.

    Raises:
      OptionError: naming the flag and the remedy.
    """
    for name in ("slice", "largest_loss"):
        if getattr(flags, name) is not None and not flags.input:
            flag = name.replace("_", "-")
            raise OptionError(f"--{flag} says how --input is compared on; add --input with held-back images")
    if flags.largest_loss is not None and not 0 <= flags.largest_loss < 1:
        raise OptionError(f"--largest-loss must be a share such as 0.02, got {flags.largest_loss:g}")
    inputs.check_max_failures(flags.max_failures)


def _list_words(record: Record) -> str:
    rows = [("model", "version", "aliases", "accuracy", "encoder", "data", "made (UTC)")]
    problems = []
    for model in record["models"]:
        for entry in model["versions"]:
            start = (model["model"], str(entry["version"]), ", ".join(entry["aliases"]))
            if "problem" in entry:
                rows.append((*start, "damaged", "", "", ""))
                problems.append(entry["problem"])
            else:
                rows.append(
                    (*start, _accuracy(entry), entry["encoder"], _data(entry["data"]), _minute(entry["created"]))
                )
    return "\n".join([*columns(rows), *problems])


def _show_words(record: Record) -> str:
    labels, data = record["labels"], record["data"]
    more = " …" if len(labels) > _SHOWN_LABELS else ""
    place = f" of {data['store']}" if "store" in data else ""
    lines = [
        f"{record['model']} ({record['identifier']}), made {_minute(record['created'])} UTC",
        f"aliases: {', '.join(record['aliases']) or 'none'}",
        f"{plural(len(labels), 'label')}: {', '.join(labels[:_SHOWN_LABELS])}{more}",
        f"encoder: {record['encoder']} ({record['encoder_fingerprint']})",
        f"data: {_data(data)}{place}",
        f"accuracy: {_accuracy(record)}",
    ]
    rows = [("alias", "move", "when (UTC)", "version", "before", "what", "by", "check")]
    for alias, moves in record["moves"].items():
        for move in moves:
            before = "" if move["replaced"] is None else str(move["replaced"])
            who = (move["operation"], move["by"], _check(move["check"]))
            rows.append((alias, str(move["number"]), _minute(move["at"]), str(move["version"]), before, *who))
    return "\n".join([*lines, *(columns(rows) if len(rows) > 1 else []), f"read {record['model']}/model_card.md"])


def _promote_words(record: Record) -> str:
    alias, version, replaced = record["alias"], record["version"], record["replaced"]
    if replaced == version:
        return f"{record['model']}@{alias} names version {version} already"
    lines = comparison_table(record["check"]) if record["check"] else []
    if record["moved"]:
        before = "which had none before" if replaced is None else f"before: {replaced}"
        before += "; there was nothing to compare it with" if record["unchecked"] else ""
        lines.append(f"{record['model']}@{alias} names version {version} now ({before})")
    return "\n".join(lines)


def comparison_table(check: Record) -> list[str]:
    """Returns the comparison of a candidate with the current version, a line for all images and for each slice."""
    rows = [("images", "number", "current", "candidate", "difference", "95% interval", "p", "")]
    for row in check["table"]:
        low, high = row["interval"]
        rows.append(
            (
                row["images"],
                f"{row['rows']:,}",
                percent(row["current"]),
                percent(row["candidate"]),
                f"{100 * row['difference']:+.1f}",
                f"{100 * low:+.1f} to {100 * high:+.1f}",
                f"{row['p_value']:.2g}",
                "worse" if row["worse"] else "",
            )
        )
    return [f"version {check['candidate']} against {check['current']}, in percentage points:", *columns(rows)]


def _rollback_words(record: Record) -> str:
    return f"{record['model']}@{record['alias']} names version {record['version']} again (before: {record['replaced']})"


def _pictures_words(record: Record) -> str:
    if not record["output"]:
        rows = [("layer", "kind", "maps", "pixels", "")]
        for layer in record["layers"]:
            size = f"{layer['height']} x {layer['width']}"
            drawn = "drawn by default" if layer["name"] in record["drawn"] else ""
            rows.append((layer["name"], layer["kind"], f"{layer['maps']:,}", size, drawn))
        return "\n".join(columns(rows))
    said = [text for file, text in record["files"].items() if file.startswith(HEAT)]
    drawn = f"heat maps, filters, and feature maps of {', '.join(record['drawn'])}"
    return "\n".join([*said, f"{drawn}: read {record['output']}/{REPORT}"])


def _export_words(record: Record) -> str:
    difference, shape = record["difference"], " x ".join(map(str, record["input"]["shape"][1:]))
    return (
        f"{record['file']}: {record['bytes'] / 1e6:.1f} MB, uint8 {shape} (RGB, decoded and resized) to "
        f"{len(record['labels'])} probabilities\n"
        f"probabilities differ from batch scoring's (TensorFlow, float32) by at most {difference['largest']:.2g} on "
        f"{plural(difference['images'], 'image')}, {percent(difference['same_answer'])} have the same first label\n"
        f"labels, preprocessing and difference: {record['file'].removesuffix('.tflite')}.json"
    )


def _accuracy(entry: Record) -> str:
    return ", ".join(f"{name} {percent(value)}" for name, value in entry["accuracy"].items()) or "–"


def _data(data: Record) -> str:
    if "table" in data:
        return f"{data['table']} version {data['table_version']}"
    return f"{plural(data['images'], 'image')} ({data['images_sha256'][:8]})" if "images_sha256" in data else "–"


def _check(check: Record | None) -> str:
    if check is None:
        return "none"
    overall = check["table"][0]
    images = plural(overall["rows"], "image")
    return f"{100 * overall['difference']:+.1f} points on {images} (p = {overall['p_value']:.2g})"


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


WORDS: dict[str, Callable[[Record], str]] = {
    "list": _list_words,
    "show": _show_words,
    "promote": _promote_words,
    "rollback": _rollback_words,
    "pictures": _pictures_words,
    "export": _export_words,
}
"""Name of an action to what its record says to a person."""

"""What the actions of ``heliograph store`` take and what they say: their flags and their words for a person."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from pipelines import options
from pipelines.run_record import columns
from transforms.measures.remarks import plural
from transforms.store.compact import TARGET_BYTES
from transforms.store.export import FORMATS, ROWS_PER_FILE
from transforms.store.vacuum import LEAST_HOURS, RETENTION_HOURS

Record = Mapping[str, Any]
_SHOWN = 20


def table_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of every action, which are all that list and show have."""
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="of the store (default: all of them)")
    parser.add_argument("--store", required=True, help="that `heliograph embed` made")


def verify_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of verify."""
    table_flags(parser)
    options.add_version_flag(parser)
    parser.add_argument(
        "--skip-golden", action="store_true", help="do not load the encoder to check its golden vectors"
    )
    parser.add_argument("--trust-model", action="store_true", help="load an encoder that carries code")


def retract_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of retract."""
    table_flags(parser)
    parser.add_argument("--image-id", action="append", default=[], metavar="ID", help="may be given several times")
    parser.add_argument("--image-uri", action="append", default=[], metavar="URI", help="as the rows have it")
    parser.add_argument("--group", action="append", default=[], metavar="KEY", help="all images of a group")
    parser.add_argument("--manifest", action="append", default=[], metavar="FILE", help="all images that it lists")
    parser.add_argument("--input-root", metavar="DIR", help="as it was given to embed for the manifest")
    _add_dry_run(parser)


def compact_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of compact."""
    table_flags(parser)
    default = TARGET_BYTES / 1e6
    parser.add_argument(
        "--target-mb", type=options.positive(float), default=default, help=f"size of a large file (default {default:g})"
    )
    _add_dry_run(parser)


def vacuum_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of vacuum."""
    table_flags(parser)
    parser.add_argument(
        "--retention-hours",
        type=float,
        default=RETENTION_HOURS,
        metavar="H",
        help=f"versions of that long ago stay readable (default {RETENTION_HOURS:g}, at least {LEAST_HOURS:g})",
    )
    parser.add_argument("--models", nargs="+", default=[], metavar="DIR", help="keep the versions these models cite")
    parser.add_argument("--keep-version", type=int, action="append", default=[], metavar="N", help="keep it as well")
    parser.add_argument("--force", action="store_true", help="no run is in progress: any retention is allowed")
    parser.add_argument("--dry-run", action="store_true", help="print what would be removed, remove nothing")


def export_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of export."""
    table_flags(parser)
    options.add_version_flag(parser)
    parser.add_argument("--format", required=True, choices=list(FORMATS))
    parser.add_argument("--output", required=True, metavar="DIR", help="new directory, complete when it appears")
    parser.add_argument("--split", action="append", default=[], help="only this one; may be given several times")
    parser.add_argument("--label", action="append", default=[], help="only images with this label, or another given")
    parser.add_argument("--attribute", action="append", default=[], metavar="NAME=VALUE", help="only images with it")
    parser.add_argument("--all-views", action="store_true", help="augmented views as well")
    parser.add_argument(
        "--rows-per-file", type=options.positive(int), default=ROWS_PER_FILE, help="where files are cut"
    )


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, do nothing")
    parser.add_argument("--run-id", help="name of the run in the log; the same id is done once")


def _list_words(record: Record) -> str:
    rows = [
        (
            t["name"],
            f"{t['images']:,}",
            f"{t['views']['rows']:,}",
            str(t["dimension"]),
            _size(t["bytes"]),
            str(t["version"]),
            t["changed"] or "",
        )
        for t in record["tables"]
    ]
    heading = ("table", "images", "views", "dimension", "size", "version", "last change (UTC)")
    return "\n".join(columns([heading, *rows]))


def _views(table: Record) -> str:
    """Returns the views of a table in words; nothing when there are none."""
    views = table["views"]
    return f", {plural(views['rows'], 'augmented view')} ({views['policy']})" if views["rows"] else ""


def _show_words(record: Record) -> str:
    lines: list[str] = []
    for table in record["tables"]:
        lines.append(
            f"{table['path']}: {plural(table['images'], 'image')}{_views(table)} by {table['encoder']} "
            f"({table['encoder_fingerprint']}), {plural(table['dimension'], 'value')}, "
            f"{plural(table['files'], 'file')}, {_size(table['bytes'])}"
        )
        rows = [("version", "time (UTC)", "what", "rows", "added", "removed", "by", "run")]
        for entry in table["versions"]:
            gone = " (vacuumed)" if entry["missing"] else ""
            known = "?" if entry["rows"] is None else f"{entry['rows']:,}"
            change = (f"+{entry['rows_added']:,}", f"-{entry['rows_removed']:,}")
            who = (entry["by"] or "another tool", entry["run_id"])
            rows.append(
                (f"{entry['version']}{gone}", (entry["time"] or "")[:19], entry["operation"], known, *change, *who)
            )
        lines += columns(rows)
    return "\n".join(lines)


def _verify_words(record: Record) -> str:
    lines: list[str] = []
    for table in record["tables"]:
        name = table["table"].rsplit("/", 1)[-1]
        lines += [f"{name}: {problem}" for problem in table["problems"]]
        state = plural(len(table["problems"]), "problem") if table["problems"] else "sound"
        golden = "golden images encoded alike" if table["golden"] else "golden images not encoded"
        golden = golden if not any(p.startswith("golden") for p in table["problems"]) else "golden images fail"
        lines.append(
            f"{name}: {state}; version {table['version']}, {plural(table['files'], 'file')}, "
            f"{plural(table['rows'], 'row')}, {golden}"
        )
        lines += [f"{name}: orphan {orphan}" for orphan in table["orphans"][:_SHOWN]]
        if table["orphans"]:
            count = plural(len(table["orphans"]), "orphan")
            lines.append(f"{name}: {count}, harmless: of a run in progress, or for `heliograph store vacuum`")
    return "\n".join(lines)


def _retract_words(record: Record) -> str:
    lines: list[str] = []
    for table in record["tables"]:
        name, count = table["table"].rsplit("/", 1)[-1], len(table["image_ids"])
        verb = "would be retracted" if record["dry_run"] else "retracted"
        if count:
            place = "" if record["dry_run"] else f"; version {table['version']} is without them"
            lines.append(f"{name}: {plural(count, 'image')} ({plural(table['rows'], 'row')}) {verb}{place}")
        else:
            lines.append(f"{name}: nothing to retract, it has none of these images")
    if record["unknown"]:
        shown = ", ".join(record["unknown"][:3])
        lines.append(f"{len(record['unknown']):,} of what was named is in no table; for example {shown}")
    if any(table["image_ids"] for table in record["tables"]):
        lines.append(
            "older versions keep these rows, and their files hold them, until `heliograph store vacuum`; an embed "
            "that lists the images will add them again"
        )
    return "\n".join(lines)


def _compact_words(record: Record) -> str:
    verb = "would become" if record["dry_run"] else "became"
    lines = []
    for table in record["tables"]:
        name = table["table"].rsplit("/", 1)[-1]
        if table["rows_rewritten"]:
            lines.append(
                f"{name}: {plural(table['files_before'], 'file')} {verb} {table['files_after']}, "
                f"{plural(table['rows_rewritten'], 'row')} copied; version {table['version']}"
            )
        else:
            lines.append(f"{name}: nothing to compact in {plural(table['files_before'], 'file')}")
    return "\n".join(lines)


def _vacuum_words(record: Record) -> str:
    verb = "would be removed" if record["dry_run"] else "removed"
    lines = []
    for table in record["tables"]:
        name = table["table"].rsplit("/", 1)[-1]
        lines.append(
            f"{name}: {plural(len(table['replaced']), 'replaced file')}, {plural(len(table['orphans']), 'orphan')} and "
            f"{plural(len(table['work']), 'stale work file')} {verb}, {_size(table['bytes'])}"
        )
        if table["lost_versions"]:
            versions = ", ".join(map(str, table["lost_versions"]))
            lines.append(f"{name}: versions that can no longer be read: {versions}")
        if table["kept_versions"]:
            lines.append(f"{name}: kept because they are cited: {', '.join(map(str, table['kept_versions']))}")
        if table["running"]:
            lines.append(f"{name}: a run may be in progress, so its files were left; --force when none is")
    return "\n".join(lines)


def _export_words(record: Record) -> str:
    return f"{plural(record['rows'], 'row')} of version {record['version']} in {record['output']} ({record['format']})"


WORDS: dict[str, Callable[[Record], str]] = {
    "list": _list_words,
    "show": _show_words,
    "verify": _verify_words,
    "retract": _retract_words,
    "compact": _compact_words,
    "vacuum": _vacuum_words,
    "export": _export_words,
}
"""Name of an action to what its record says to a person."""


def _size(number: int) -> str:
    return f"{number / 1e9:,.2f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"

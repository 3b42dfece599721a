"""``heliograph store``: what a feature store holds, whether it is sound, and its upkeep."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from pipelines import cli, options, store_words
from pipelines.run_record import new_run_id, print_record
from transforms.encoders.golden import self_test
from transforms.errors import OptionError
from transforms.model.directory import ModelDirectory, versions
from transforms.sources.dialects import recognise
from transforms.store import compact, export, retract, vacuum
from transforms.store.catalog import list_tables, open_table
from transforms.store.describe import describe_table, describe_versions
from transforms.store.reader import open_features
from transforms.store.table import FeatureTable
from transforms.store.verify import verify_table

Result = tuple[dict[str, Any], int]
"""The record of an action, and its exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    words = "What a feature store holds, whether it is sound, and its upkeep."
    return options.actions_parser("store", words, ACTIONS)


def _run(argv: Sequence[str] | None) -> int:
    flags = _parser().parse_args(argv)
    record, status = ACTIONS[flags.action][1](flags)
    print_record(record, flags.json, store_words.WORDS[flags.action](record))
    return status


def _tables(flags: argparse.Namespace) -> list[FeatureTable]:
    if flags.tables:
        return [open_table(flags.store, name) for name in dict.fromkeys(flags.tables)]
    return [FeatureTable.open(entry.path) for entry in list_tables(flags.store)]


def _list(flags: argparse.Namespace) -> Result:
    return {"store": flags.store, "tables": [describe_table(table) for table in _tables(flags)]}, 0


def _show(flags: argparse.Namespace) -> Result:
    tables = [{**describe_table(table), "versions": describe_versions(table)} for table in _tables(flags)]
    return {"store": flags.store, "tables": tables}, 0


def _verify(flags: argparse.Namespace) -> Result:
    def check_golden(table: FeatureTable) -> None:
        from transforms.encoders.resolve import load_encoder

        encoder = load_encoder(table.specification, trust_model=flags.trust_model, beside=table.path)
        self_test(encoder, table.golden)

    check = None if flags.skip_golden else check_golden
    found = [verify_table(FeatureTable.open(table.path, flags.version), check) for table in _tables(flags)]
    status = 1 if any(verification.problems for verification in found) else 0
    return {"store": flags.store, "tables": [verification.to_json() for verification in found]}, status


def _retract(flags: argparse.Namespace) -> Result:
    manifests = [source for file in flags.manifest for source in recognise(file, None, flags.input_root)]
    listed = [reference.image_id for source in manifests for reference in source.list_images()]
    meant = retract.Meant(image_ids=[*flags.image_id, *listed], image_uris=flags.image_uri, groups=flags.group)
    if not (meant.image_ids or meant.image_uris or meant.groups):
        raise OptionError("retract needs --image-id, --image-uri, --group or a --manifest that lists images")
    run_id = new_run_id(flags.run_id)
    if flags.dry_run:
        found = [retract.find_meant(table, meant) for table in _tables(flags)]
    else:
        found = [retract.retract(table, run_id, meant) for table in _tables(flags)]
    unknown = sorted(set.intersection(*(set(each.unknown) for each in found)))
    record = {"store": flags.store, "run_id": run_id, "dry_run": flags.dry_run, "unknown": unknown}
    return record | {"tables": [each.to_json() for each in found]}, 0


def _compact(flags: argparse.Namespace) -> Result:
    target = int(flags.target_mb * 1e6)
    run_id = new_run_id(flags.run_id)
    if flags.dry_run:
        found = [compact.plan_compaction(table, target) for table in _tables(flags)]
    else:
        found = [compact.compact(table, run_id, target) for table in _tables(flags)]
    record = {"store": flags.store, "run_id": run_id, "dry_run": flags.dry_run}
    return record | {"tables": [each.to_json() for each in found]}, 0


def _vacuum(flags: argparse.Namespace) -> Result:
    models = [model for path in flags.models for model in _models(path)]
    tables = _tables(flags)
    plans = []
    for table in tables:
        fitted = [m.data for m in models if m.encoder.fingerprint == table.specification.fingerprint]
        cited = [data["table_version"] for data in fitted if "table_version" in data]
        kept = [*cited, *flags.keep_version]
        plans.append(vacuum.plan_vacuum(table, flags.retention_hours, kept, flags.force))
    for table, plan in zip(tables, plans, strict=True):
        if not flags.dry_run:
            vacuum.vacuum(table, plan)
    return {"store": flags.store, "dry_run": flags.dry_run, "tables": [plan.to_json() for plan in plans]}, 0


def _models(path: str) -> list[ModelDirectory]:
    found = versions(path)
    return [ModelDirectory.open(f"{path.rstrip('/')}/{n}") for n in found] if found else [ModelDirectory.open(path)]


def _export(flags: argparse.Namespace) -> Result:
    if len(flags.tables) > 1:
        raise OptionError(f"export writes one table, {len(flags.tables)} are named")
    pairs = [text.partition("=") for text in flags.attribute]
    attributes: dict[str, list[str]] = {}
    for text, (name, equals, value) in zip(flags.attribute, pairs, strict=True):
        if not equals:
            raise OptionError(f"--attribute must be NAME=VALUE, got {text!r}")
        attributes.setdefault(name, []).append(value)
    features = open_features(
        flags.store,
        flags.tables[0] if flags.tables else None,
        flags.version,
        splits=flags.split or None,
        labels=flags.label or None,
        attributes=attributes,
        views=None if flags.all_views else (0,),
    )
    return export.export(features, flags.format, flags.output, flags.rows_per_file).to_json(), 0


ACTIONS: dict[str, options.Action] = {
    "list": ("the tables of a store", _list, store_words.table_flags),
    "show": ("the versions of a table: run, operation, counts, who and when", _show, store_words.table_flags),
    "verify": ("check files, rows, vectors, ids and golden images; find orphans", _verify, store_words.verify_flags),
    "retract": ("take images out of the newest version", _retract, store_words.retract_flags),
    "compact": ("make large files of small ones; no row changes", _compact, store_words.compact_flags),
    "vacuum": ("remove the files that no version in use needs", _vacuum, store_words.vacuum_flags),
    "export": ("write features for other tools", _export, store_words.export_flags),
}

if __name__ == "__main__":
    sys.exit(main())

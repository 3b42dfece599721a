"""``heliograph models``: the versions of models, the aliases that name them, and their promotion."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

from pyarrow import fs

from pipelines import cli, model_words, options
from pipelines.run_record import print_record
from transforms.errors import ModelError, OptionError, QualityGateError
from transforms.files import filesystem
from transforms.model import aliases
from transforms.model.directory import ModelDirectory, versions

Record = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return cli.run_command(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    words = "The versions of models, the aliases that name them, and their promotion."
    return options.actions_parser("models", words, ACTIONS)


def _run(argv: Sequence[str] | None) -> int:
    flags = _parser().parse_args(argv)
    record = ACTIONS[flags.action][1](flags)
    print_record(record, flags.json, model_words.WORDS[flags.action](record))
    if record.get("refused"):
        worse = "is worse" if flags.largest_loss is None else "is worse, or may be by more than --largest-loss,"
        raise QualityGateError(
            f"{record['alias']} stays on version {record['replaced']}: version {record['version']} {worse} on "
            f"{', '.join(record['refused'])}; promote without --input to do it all the same"
        )
    return 0


def _list(flags: argparse.Namespace) -> Record:
    models = [model for path in flags.models for model in _models_in(path)]
    return {"models": [{"model": model, "versions": _describe_versions(model)} for model in models]}


def _models_in(path: str) -> list[str]:
    """Returns the model that a path is, or those that lie directly in it.

    Raises:
      ModelError: there is none.
    """
    if versions(path):
        return [path.rstrip("/")]
    system, root = filesystem.open_filesystem(path)
    children = system.get_file_info(fs.FileSelector(root, allow_not_found=True))
    names = sorted(info.base_name for info in children if info.type == fs.FileType.Directory)
    found = [filesystem.join(path, name) for name in names if versions(filesystem.join(path, name))]
    if not found:
        raise ModelError(f"{path} holds no model; name MODEL, or a directory of models; `heliograph train` makes one")
    return found


def _describe_versions(model: str) -> list[Record]:
    names: dict[int, list[str]] = {}
    for alias, made in aliases.moves(model).items():
        names.setdefault(made[-1].version, []).append(alias)
    rows = []
    for version in versions(model):
        row: Record = {"version": version, "aliases": names.get(version, [])}
        try:
            rows.append(row | _describe(ModelDirectory.open(filesystem.join(model, str(version)))))
        except ModelError as error:
            rows.append(row | {"problem": str(error)})
    return rows


def _describe(model: ModelDirectory) -> Record:
    measured = {name: model.metrics.get(name) for name in ("validation", "test")}
    return {
        "identifier": model.identifier,
        "accuracy": {name: figures["accuracy"] for name, figures in measured.items() if figures},
        "labels": list(model.labels),
        "encoder": model.encoder.name,
        "encoder_fingerprint": model.encoder.fingerprint,
        "data": model.data,
        "created": model.created,
    }


def _show(flags: argparse.Namespace) -> Record:
    model = ModelDirectory.open(flags.model)
    base = _base(model)
    moves = aliases.moves(base) if base else {}
    return {
        "model": model.path,
        "version": model.version,
        "aliases": [name for name, made in moves.items() if made[-1].version == model.version],
        **_describe(model),
        "moves": {name: [dataclasses.asdict(move) for move in made] for name, made in moves.items()},
    }


def _base(model: ModelDirectory) -> str:
    """MODEL of ``MODEL/<n>``; empty for a version that was copied elsewhere."""
    parent, _, name = model.path.rstrip("/").rpartition("/")
    return (parent or ".") if name == str(model.version) else ""


def _promote(flags: argparse.Namespace) -> Record:
    alias = aliases.check_alias(flags.to)
    model_words.check_promotion_flags(flags)
    candidate = ModelDirectory.open(flags.model)
    base = _base(candidate)
    if not base:
        raise ModelError(f"{flags.model} is no MODEL/<n>, so no alias can name it; move it into a model's directory")
    made = aliases.moves(base).get(alias, [])
    current = made[-1].version if made else None
    record = {"model": base, "alias": alias, "version": candidate.version, "replaced": current, "refused": []}
    if current == candidate.version:
        return record | {"moved": False, "check": None}
    check = None
    if flags.input and current is not None:
        from pipelines.promotion import compare_models  # with Beam

        check = compare_models(ModelDirectory.open(filesystem.join(base, str(current))), candidate, flags)
        record["refused"] = [row["images"] for row in check["table"] if row["worse"]]
    if not record["refused"]:
        aliases.move(base, alias, candidate.version, made[-1].number if made else 0, _now(), check)
    unchecked = bool(flags.input) and check is None
    return record | {"moved": not record["refused"], "check": check, "unchecked": unchecked}


def _rollback(flags: argparse.Namespace) -> Record:
    base, alias = aliases.split_alias(flags.model)
    if not alias:
        raise OptionError(f"rollback takes MODEL@alias, such as {flags.model}@production, got {flags.model!r}")
    before = aliases.previous(base, alias)
    ModelDirectory.open(filesystem.join(base, str(before.version)))
    return {"model": base, "alias": alias, **dataclasses.asdict(aliases.roll_back(base, alias, _now()))}


def _export(flags: argparse.Namespace) -> Record:
    from pipelines.litert_export import export_litert  # with TensorFlow

    return export_litert(ModelDirectory.open(flags.model), flags)


def _pictures(flags: argparse.Namespace) -> Record:
    from pipelines.model_pictures import draw_model  # with TensorFlow

    return draw_model(ModelDirectory.open(flags.model), flags)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


ACTIONS: dict[str, options.Action] = {
    "list": ("the versions of models: aliases, accuracy, encoder, data and date", _list, model_words.list_flags),
    "show": ("one version, and what its model's aliases have named", _show, model_words.show_flags),
    "promote": ("put an alias onto a version, if it is not worse", _promote, model_words.promote_flags),
    "rollback": ("put an alias back onto what it named before", _rollback, model_words.rollback_flags),
    "pictures": ("what a model's network sees in images, layer by layer", _pictures, model_words.pictures_flags),
    "export": ("write a model as one LiteRT file: pixels to probabilities", _export, model_words.export_flags),
}

if __name__ == "__main__":
    cli.leave(main())

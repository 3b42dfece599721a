"""Aliases of a model's versions, such as ``production``: which version each names, and every move it has made.

```
MODEL/aliases/<alias>/<n>.json   the n-th move: written once, whole, never changed; the last one is what counts
```
A move is a file that is created unless it is there, so of two that happen at once one wins and the other is refused.
"""

from __future__ import annotations

import dataclasses
import getpass
import json
import re
from collections.abc import Sequence
from typing import Any

from pyarrow import fs

from transforms.errors import InputError, ModelError
from transforms.files import filesystem

ALIASES = "aliases"
"""Name of the directory beside the versions."""

PROMOTE, ROLLBACK = "promote", "rollback"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_FILE = re.compile(r"([1-9][0-9]*)\.json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Move:
    """An alias was put onto a version.

    Attributes:
      number: of the move, from 1.
      version: that the alias names from then on.
      replaced: version that it named before; None for the first move.
      previous: number of the move that a rollback goes back to; 0 for none.
      operation: PROMOTE or ROLLBACK.
      at: when, ISO 8601, UTC.
      by: the user's name on the machine.
      check: the comparison that allowed it; None without.
    """

    number: int
    version: int
    replaced: int | None
    previous: int
    operation: str
    at: str
    by: str
    check: dict[str, Any] | None = None


def check_alias(name: str) -> str:
    """Returns the name of an alias once it is known to be one.

    Raises:
      ModelError: it is a number, or has other characters than letters, digits, ``.``, ``_`` and ``-``.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"{name!r} is no alias: it must begin with a letter and have up to 64 letters, digits, '.', '_' or '-', "
            "such as production"
        )
    return name


def split_alias(path: str) -> tuple[str, str]:
    """Returns ``MODEL`` and ``alias`` of ``MODEL@alias``; an empty alias where there is none."""
    parent, slash, last = path.rstrip("/").rpartition("/")
    name, at, alias = last.rpartition("@")
    return (f"{parent}{slash}{name}", alias) if at and name else (path, "")


def moves(model: str) -> dict[str, list[Move]]:
    """Returns the moves of each alias of MODEL, first to last.

    Raises:
      ModelError: the address cannot be read, or one of the files is damaged.
    """
    try:
        system, root = filesystem.open_filesystem(model)
        place = f"{root.rstrip('/')}/{ALIASES}"
        infos = system.get_file_info(fs.FileSelector(place, recursive=True, allow_not_found=True))
    except (InputError, OSError) as error:
        raise ModelError(f"--model {error}") from error
    found: dict[str, list[Move]] = {}
    for info in infos:
        alias, _, file = info.path.removeprefix(f"{place}/").partition("/")
        if info.type == fs.FileType.File and _FILE.fullmatch(file):
            found.setdefault(alias, []).append(_read(system, info.path))
    return {alias: sorted(entries, key=lambda move: move.number) for alias, entries in sorted(found.items())}


def version_of(model: str, alias: str) -> int:
    """Returns the version that an alias names.

    Raises:
      ModelError: MODEL has no such alias; the message tells which there are.
    """
    return _moves_of(model, alias)[-1].version


def _moves_of(model: str, alias: str) -> list[Move]:
    found = moves(model)
    if alias not in found:
        there = f"it has {', '.join(found)}" if found else "it has none"
        raise ModelError(
            f"{model} has no alias {alias!r}: {there}; name a version as MODEL/<n>, or make the alias with "
            f"`heliograph models promote {model}/<n> --to ALIAS`"
        )
    return found[alias]


def move(model: str, alias: str, version: int, after: int, at: str, check: dict[str, Any] | None = None) -> Move:
    """Puts an alias onto a version.

    Args:
      model: MODEL.
      alias: its name.
      version: that it shall name.
      after: number of the last move that the decision knows; 0 for none.
      at: now.
      check: the comparison that allows it.

    Raises:
      ModelError: another move came in between, or the place cannot be written.
    """
    made = moves(model).get(check_alias(alias), [])
    entry = Move(
        number=after + 1,
        version=version,
        replaced=made[after - 1].version if after else None,
        previous=after,
        operation=PROMOTE,
        at=at,
        by=_user(),
        check=check,
    )
    return _append(model, alias, entry)


def previous(model: str, alias: str) -> Move:
    """Returns the move that a rollback goes back to.

    Raises:
      ModelError: there is no such alias, or it named nothing before.
    """
    return _before(model, alias, _moves_of(model, alias))


def _before(model: str, alias: str, made: Sequence[Move]) -> Move:
    if not made[-1].previous:
        raise ModelError(
            f"{model}@{alias} names version {made[-1].version} and named none before; "
            f"`heliograph models promote {model}/<n> --to {alias}` puts it onto another"
        )
    return made[made[-1].previous - 1]


def roll_back(model: str, alias: str, at: str) -> Move:
    """Puts an alias back onto the version that it named before its last promotion; again, onto the one before that.

    Raises:
      ModelError: as previous; another move came in between, or the place cannot be written.
    """
    made = _moves_of(model, alias)
    back = dataclasses.replace(
        _before(model, alias, made),
        number=len(made) + 1,
        replaced=made[-1].version,
        operation=ROLLBACK,
        at=at,
        by=_user(),
        check=None,
    )
    return _append(model, alias, back)


def _append(model: str, alias: str, entry: Move) -> Move:
    address = filesystem.join(model, ALIASES, alias, f"{entry.number}.json")
    data = json.dumps(dataclasses.asdict(entry), indent=2) + "\n"
    try:
        made = filesystem.create(address, data.encode())
    except OSError as error:
        raise ModelError(f"{address} cannot be written ({error.strerror or error}); give permission") from error
    if not made:
        raise ModelError(f"{model}@{alias} was moved by another meanwhile; look at it and try again")
    return entry


def _read(system: fs.FileSystem, path: str) -> Move:
    try:
        return Move(**json.loads(filesystem.read_bytes(system, path)))
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({error}); restore it or remove it and those after it") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.training.publish import check_target
from tests.transforms.model.builders import linear_head, write_version
from transforms.errors import ModelError
from transforms.model import aliases
from transforms.model.directory import ModelDirectory, versions

NOW = "2026-01-02T03:04:05+00:00"


@pytest.fixture
def model(tmp_path: Path) -> str:
    for version in (1, 2, 3):
        write_version(tmp_path / "cells" / str(version), linear_head(temperature=float(version)))
    return str(tmp_path / "cells")


def test_an_alias_is_named_where_a_model_is_and_the_version_recorded(model: str) -> None:
    aliases.move(model, "production", 2, 0, NOW)
    opened = ModelDirectory.open(f"{model}@production")
    assert (opened.version, opened.path, opened.head.temperature) == (2, f"{model}/2", 2.0)
    assert (opened.alias, opened.provenance()["alias"]) == ("production", "production")
    assert ModelDirectory.open(model).version == 3
    aliases.move(model, "production", 3, 1, NOW)
    assert ModelDirectory.open(f"{model}@production").version == 3
    assert ModelDirectory.open(opened.path).version == 2, "what a run resolved stays"


def test_rolling_back_goes_through_the_promotions_and_history_is_kept(model: str) -> None:
    for after, version in enumerate((1, 2, 3)):
        aliases.move(model, "production", version, after, NOW, {"why": version})
    assert [aliases.roll_back(model, "production", NOW).version for _ in range(2)] == [2, 1]
    with pytest.raises(ModelError, match="names version 1 and named none before"):
        aliases.roll_back(model, "production", NOW)
    aliases.move(model, "production", 3, 5, NOW)
    assert aliases.roll_back(model, "production", NOW).version == 1
    made = aliases.moves(model)["production"]
    assert [(move.number, move.version, move.replaced) for move in made] == [
        (1, 1, None),
        (2, 2, 1),
        (3, 3, 2),
        (4, 2, 3),
        (5, 1, 2),
        (6, 3, 1),
        (7, 1, 3),
    ]
    assert [move.operation for move in made] == ["promote"] * 3 + ["rollback"] * 2 + ["promote", "rollback"]
    assert made[1].check == {"why": 2}


def test_of_two_moves_at_once_one_is_refused(model: str) -> None:
    aliases.move(model, "production", 1, 0, NOW)
    aliases.move(model, "production", 2, 1, NOW)
    with pytest.raises(ModelError, match="was moved by another meanwhile"):
        aliases.move(model, "production", 3, 1, NOW)
    assert aliases.version_of(model, "production") == 2


def test_an_alias_that_is_not_there_names_those_that_are(model: str) -> None:
    with pytest.raises(ModelError, match=r"has no alias 'production': it has none; .*models promote .*/<n> --to ALIAS"):
        ModelDirectory.open(f"{model}@production")
    aliases.move(model, "canary", 1, 0, NOW)
    with pytest.raises(ModelError, match=r"no alias 'production': it has canary"):
        ModelDirectory.open(f"{model}@production")


@pytest.mark.parametrize("name", ["", "3", "a/b", "..", "-x", "a b"])
def test_names_that_are_none(model: str, name: str) -> None:
    with pytest.raises(ModelError, match="is no alias"):
        aliases.move(model, name, 1, 0, NOW)


def test_a_damaged_move_is_named(model: str) -> None:
    aliases.move(model, "production", 1, 0, NOW)
    path = Path(model) / "aliases" / "production" / "1.json"
    path.write_text(json.dumps({"version": 1}))
    with pytest.raises(ModelError, match=r"1\.json is damaged"):
        ModelDirectory.open(f"{model}@production")


def test_a_directory_may_have_an_at_sign_in_its_name(tmp_path: Path) -> None:
    write_version(tmp_path / "me@home" / "1")
    assert ModelDirectory.open(str(tmp_path / "me@home")).version == 1


def test_versions_are_made_beside_aliases_but_not_into_one(model: str) -> None:
    aliases.move(model, "production", 1, 0, NOW)
    check_target(model)
    assert versions(model) == [1, 2, 3]
    with pytest.raises(ModelError, match=r"names an alias; train into .*cells"):
        check_target(f"{model}@production")


def test_aliases_on_object_stores(bucket: str) -> None:
    model = f"{bucket}/cells"
    aliases.move(model, "production", 1, 0, NOW)
    aliases.move(model, "production", 2, 1, NOW)
    aliases.move(model, "canary", 3, 0, NOW)
    with pytest.raises(ModelError, match="was moved by another meanwhile"):
        aliases.move(model, "production", 3, 1, NOW)
    assert aliases.roll_back(model, "production", NOW).version == 1
    assert {name: made[-1].version for name, made in aliases.moves(model).items()} == {"canary": 3, "production": 1}

from __future__ import annotations

import argparse
import csv
import io

import numpy as np
import pytest

from pipelines.training.features import split_features
from pipelines.training.fit_settings import FitSettings
from pipelines.training.sweep import Trial, pick, run_sweep
from pipelines.training.sweep_settings import SweepSettings, add_sweep_flags, sweep_arguments, sweep_settings
from tests.pipelines.training.builders import clouds, features
from transforms.errors import OptionError

FAST = FitSettings(train_epochs=15, learning_rate=0.02)


def parsed(*words: str) -> SweepSettings | None:
    parser = argparse.ArgumentParser()
    add_sweep_flags(parser)
    return sweep_settings(parser.parse_args(words))


def table(count: int = 240, distance: float = 1.0):
    """The splits of a table with three classes."""
    vectors, targets = clouds(count, 3, seed=4, distance=distance)
    names = [["abc"[target]] for target in targets]
    none = features(np.zeros((0, vectors.shape[1]), np.float32), [])
    return split_features({"train": features(vectors, names), "validation": none, "test": none}, "TABLE")


def test_a_grid_has_all_combinations_and_flags_are_kept() -> None:
    sweep = parsed(
        "--sweep", "grid", "--sweep-values", "l2-regularizer=0.1,0.01", "--sweep-values", "hidden-units=0,8x4"
    )
    assert sweep is not None
    found = sweep.configure(FitSettings(dropout_rate=0.3, learning_rate=0.01, class_weights="balanced"))
    assert [(entry.l2_regularizer, entry.hidden_units) for entry in found] == [
        (0.1, ()), (0.1, (8, 4)), (0.01, ()), (0.01, (8, 4)),
    ]  # fmt: skip
    assert {(entry.dropout_rate, entry.learning_rate, entry.class_weights) for entry in found} == {
        (0.3, 0.01, "balanced")
    }
    assert len(SweepSettings(search="grid").configure(FitSettings())) == 40


def test_a_random_search_draws_from_ranges_the_same_for_the_same_seed() -> None:
    sweep = parsed("--sweep", "random", "--sweep-configurations", "30", "--sweep-values", "l2-regularizer=0.001..0.1")
    assert sweep is not None
    found = [entry.l2_regularizer for entry in sweep.configure(FAST)]
    assert len(set(found)) == 30
    assert all(0.001 <= value <= 0.1 for value in found)
    assert 8 <= sum(value < 0.01 for value in found) <= 22, "evenly on a logarithmic scale"
    assert sweep.configure(FAST) == sweep.configure(FAST)
    assert parsed(*sweep_arguments(sweep)) == sweep


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sweep-folds", "3"], "--sweep-folds needs --sweep grid or --sweep random"),
        (["--sweep", "grid", "--sweep-configurations", "9"], "belongs to --sweep random"),
        (["--sweep", "grid", "--sweep-folds", "1"], r"must be 0 \(the validation split\) or in \[2, 20\], got 1"),
        (["--sweep", "grid", "--sweep-values", "dropout"], "must be NAME=VALUE,…, such as"),
        (["--sweep", "grid", "--sweep-values", "momentum=1"], "'momentum' is not searched; there are l2-regularizer"),
        (["--sweep", "grid", "--sweep-values", "dropout-rate=much"], "dropout-rate must be numbers, got 'much'"),
        (["--sweep", "grid", "--sweep-values", "dropout-rate=2"], r"--dropout-rate must be in \[0, 1\), got 2"),
        (["--sweep", "grid", "--sweep-values", "l2-regularizer=0.1..1"], "not the range l2-regularizer=0.1..1; use"),
        (["--sweep", "random", "--sweep-values", "l2-regularizer=1..0.1"], "must be LOW..HIGH with 0 < LOW < HIGH"),
        (["--sweep", "grid", "--sweep-values", "learning-rate=1"], "--learning-rate fixes what --sweep-values"),
        (["--sweep", "grid", "--sweep-values", "class-weights=a"], "class-weights can be none or balanced, got 'a'"),
        (["--sweep", "grid", "--sweep-values", "dropout-rate=0", "--sweep-values", "dropout-rate=1"], "twice"),
        (["--sweep", "random", "--sweep-configurations", "0"], r"must be in \[1, 1000\], got 0"),
    ],
)
def test_a_wrong_sweep_is_told_with_its_remedy(words: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parsed(*words).configure(FAST)  # type: ignore[union-attr]


def test_the_simplest_within_one_standard_error_is_picked() -> None:
    def trial(score: float, **settings) -> Trial:
        return Trial(settings=FitSettings(**settings), score=score, standard_error=0.05, epochs=3)

    trials = [
        trial(0.50, hidden_units=(8,), l2_regularizer=0.1),
        trial(0.54, l2_regularizer=0.01),
        trial(0.54, l2_regularizer=0.1, class_weights="balanced"),
        trial(0.545, l2_regularizer=0.03),
        trial(0.56, l2_regularizer=1.0),
        trial(float("nan"), l2_regularizer=9.0),
    ]
    assert pick(trials) == (0, 3)
    assert pick(trials[1:2]) == (0, 0)
    with pytest.raises(OptionError, match="no configuration of the sweep has a finite loss"):
        pick(trials[5:])


@pytest.mark.parametrize("folds", [0, 3])
def test_a_sweep_finds_what_is_better_and_says_all(folds: int) -> None:
    splits = table(distance=3.0)
    values = (("l2-regularizer", ("30", "0.01")), ("dropout-rate", ("0", "0.2")), ("hidden-units", ("0", "4")))
    sweep = SweepSettings(search="grid", folds=folds, values=(*values, ("class-weights", ("none",))))
    found = run_sweep(splits, splits.validation, FAST, sweep)
    assert len(found.trials) == 8
    assert found.examples == len(splits.train.targets if folds else splits.validation.targets)
    assert {trial.settings.l2_regularizer for trial in found.trials if trial.score < 0.8} == {0.01}
    assert found.trials[found.chosen].settings.l2_regularizer == 0.01
    best = found.trials[found.best]
    assert found.trials[found.chosen].score <= best.score + best.standard_error
    rows = list(csv.DictReader(io.StringIO(found.to_csv().decode())))
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 9)]
    assert [float(row["loss"]) for row in rows] == sorted(float(row["loss"]) for row in rows)
    assert "chosen" in found.to_json()["chosen"]["pick"]


def test_measures_of_a_sweep() -> None:
    splits = table()
    values = (("l2-regularizer", ("0.01",)), ("hidden-units", ("0",)), ("dropout-rate", ("0",)))
    scores = {}
    for measure in ("accuracy", "balanced-accuracy"):
        sweep = SweepSettings(search="grid", measure=measure, values=values)
        found = run_sweep(splits, splits.validation, FAST, sweep)
        scores[measure] = found.rows()[0][measure]
    assert 0.5 < scores["accuracy"] < 0.9
    assert scores["balanced-accuracy"] == pytest.approx(scores["accuracy"], abs=0.03), "the classes are equally many"


def test_groups_are_not_torn_apart_by_folds() -> None:
    generator = np.random.default_rng(0)
    group = np.arange(160) % 40
    noise = generator.normal(size=(40, 30)).astype(np.float32)[group]  # what a group looks like; labels are random
    names = [["ab"[label]] for label in generator.integers(0, 2, 40)[group]]
    none = features(np.zeros((0, 30), np.float32), [])
    scores = []
    for keys in ([f"g{number}" for number in group], None):
        splits = split_features({"train": features(noise, names, keys), "validation": none, "test": none}, "TABLE")
        values = (("l2-regularizer", ("0.001",)), ("hidden-units", ("0",)), ("dropout-rate", ("0",)))
        sweep = SweepSettings(search="grid", measure="accuracy", values=values)
        scores.append(run_sweep(splits, splits.validation, FAST, sweep).rows()[0]["accuracy"])
    assert scores[0] < 0.65, "whole groups are held out, so there is nothing to be known of them"
    assert scores[1] > 0.85

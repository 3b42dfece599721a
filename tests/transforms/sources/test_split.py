from __future__ import annotations

import collections

import pytest

from transforms.errors import OptionError
from transforms.sources.split import SplitRatios


def test_parse() -> None:
    assert SplitRatios.parse("80/10/10") == (0.8, 0.1, 0.1)
    assert SplitRatios.parse("75/25") == (0.75, 0.0, 0.25)


@pytest.mark.parametrize("text", ["", "80", "80/10", "a/b/c", "120/-10/-10", "80/10/10/0", "nan/50/50"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(OptionError, match="add up to 100"):
        SplitRatios.parse(text)


def test_assign_is_stable_and_keeps_the_shares() -> None:
    ratios = SplitRatios.parse("80/10/10")
    assert [ratios.assign(key) for key in ("a", "b", "c", "d")] == [ratios.assign(key) for key in ("a", "b", "c", "d")]
    counts = collections.Counter(ratios.assign(str(number)) for number in range(20_000))
    assert counts["train"] == pytest.approx(16_000, abs=300)
    assert counts["validation"] == pytest.approx(2_000, abs=200)


def test_a_larger_training_share_moves_nothing_out_of_training() -> None:
    small, large = SplitRatios.parse("70/15/15"), SplitRatios.parse("80/10/10")
    keys = [str(number) for number in range(2000)]
    assert {key for key in keys if small.assign(key) == "train"} < {key for key in keys if large.assign(key) == "train"}


def test_no_image_falls_into_a_split_of_no_share() -> None:
    assert {SplitRatios.parse("100/0/0").assign(str(n)) for n in range(500)} == {"train"}
    assert {SplitRatios.parse("50/0/50").assign(str(n)) for n in range(500)} == {"train", "test"}

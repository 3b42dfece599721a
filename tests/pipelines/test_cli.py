from __future__ import annotations

import pytest

from pipelines import cli


@pytest.mark.parametrize(("word", "hint"), [("emebd", "did you mean embed?"), ("xyz", "there are embed, train, ")])
def test_a_word_that_is_no_command(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word]) == 2
    assert f"heliograph: '{word}' is no command; {hint}" in capsys.readouterr().err

from __future__ import annotations

import pytest

from transforms.files.spreadsheet import csv_lines, neutral


@pytest.mark.parametrize(("text", "safe"), [("=1", "'=1"), ("\tx", "'\tx"), ("a=1", "a=1"), ("", "")])
def test_formulas_are_neutralised(text: str, safe: str) -> None:
    assert neutral(text) == safe


def test_cells_of_csv_are_neutralised_and_quoted() -> None:
    assert csv_lines([["uri", "label"], ["/a,b.jpg", "=cmd()"]]) == 'uri,label\n"/a,b.jpg",\'=cmd()\n'

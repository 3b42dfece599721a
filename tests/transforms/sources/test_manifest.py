from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.errors import InputError
from transforms.sources.manifest import list_manifest
from transforms.sources.reference import ImageReference


def read(path: Path, root: str = "/photos") -> list[ImageReference]:
    return list(list_manifest(str(path), root))


EXPECTED = [
    ImageReference("/photos/a.jpg", "", ("cat",), "train", "g1", (("camera", "K1"),)),
    ImageReference("/photos/b.jpg", "", ("cat", "dog"), "", "", ()),
]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("uri,labels,split,group,camera\na.jpg,cat,training,g1,K1\nb.jpg,cat|dog,,,\n")
    assert read(path) == EXPECTED


def test_tsv_with_bom_crlf_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    path.write_bytes('uri\tlabel\tnote\r\na.jpg\tcat\t"two\nlines, ""quoted"""\r\n'.encode("utf-8-sig"))
    assert read(path) == [ImageReference("/photos/a.jpg", "", ("cat",), attributes=(("note", 'two\nlines, "quoted"'),))]


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    rows = [
        {"uri": "a.jpg", "label": "cat", "split": "train", "group": "g1", "camera": "K1"},
        {"uri": "b.jpg", "labels": ["cat", "dog"]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert read(path) == EXPECTED


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    rows = [
        {"uri": "a.jpg", "labels": ["cat"], "split": "train", "group": "g1", "camera": "K1"},
        {"uri": "b.jpg", "labels": ["cat", "dog"], "split": None, "group": None, "camera": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert read(path) == EXPECTED


def test_labels_that_are_numbers_blank_or_emoji(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(
        '{"uri": "a", "label": 3}\n{"uri": "b", "label": 3.0}\n'
        '{"uri": "c", "label": "  "}\n{"uri": "d", "label": "🐱"}\n'
    )
    assert [r.labels for r in read(path)] == [("3",), ("3",), (), ("🐱",)]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("", "BAD_ROW: no uri"),
        ("../a.jpg", "FORBIDDEN_URI: '..'"),
        ("a\x07.jpg", "FORBIDDEN_URI: control characters"),
        ("http://example.com/a.jpg", "FORBIDDEN_URI: scheme http://"),
        ("a.jpg,cat,train,too,many", "BAD_ROW: 5 fields under a header of 3 columns"),
        ("a.jpg,cat,holdout", "BAD_ROW: split must be train, validation or test, got 'holdout'"),
    ],
)
def test_a_bad_row_costs_itself(tmp_path: Path, row: str, problem: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"uri,label,split\n{row or ',cat,'}\ngood.jpg,cat,test\n")
    bad, good = read(path)
    assert bad.problem.startswith(problem)
    assert (good.uri, good.problem) == ("/photos/good.jpg", "")


def test_bytes_that_are_no_utf8_cost_their_row(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"uri,label\ncaf\xe9.jpg,cat\nb.jpg,caf\xe9\ngood.jpg,cat\n")
    assert [r.problem for r in read(path)] == ["BAD_ROW: the row is not UTF-8"] * 2 + [""]


def test_json_lines_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"uri": "a.jpg"}\n{"uri": \n[1]\n' + "[" * 100_000 + '\n{"uri": "b.jpg"}\n')
    problems = [r.problem for r in read(path)]
    assert [problem.split(":")[0] for problem in problems] == ["", "BAD_ROW", "BAD_ROW", "BAD_ROW", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (b"path,label\na,b\n", "no column 'uri'; its columns are: path, label"),
        (b"uri,label,label\na,b,c\n", "column 'label' twice"),
        (b'{"path": 1}\n', "no column 'uri'"),
        (b"PAR1 and no more", "cannot be read"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(path)


def test_an_absolute_path_and_an_object_keep_their_address(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("uri\n/x/a.jpg\ngs://bucket/a.jpg\nfile:///x/b%20c.jpg\n")
    assert [r.uri for r in read(path)] == ["/x/a.jpg", "gs://bucket/a.jpg", "/x/b c.jpg"]


def test_a_long_manifest_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    with path.open("w") as file:
        file.write("uri,label\n")
        file.writelines(f"gs://bucket/some/long/folder/{n:08d}.jpg,cat\n" for n in range(60_000))
    tracemalloc.start()
    count = sum(1 for _ in list_manifest(str(path), "/"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60_000
    assert peak < 3_000_000

"""Hostile and broken containers: one bad member costs itself, what is cut is one dead letter, nothing is inflated."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.image_sets import example, record, samples, tar_bytes, tfrecord, webdataset, write_hf_parquet, zip_bytes
from transforms.errors import ErrorClass, ImageError, OptionError
from transforms.sources.columns import Columns
from transforms.sources.container import ContainerLimits, member_uri
from transforms.sources.hf_parquet import list_hf_parquet
from transforms.sources.members import MemberReader
from transforms.sources.reference import ImageReference
from transforms.sources.tfrecord import list_tfrecord
from transforms.sources.webdataset import list_webdataset
from transforms.sources.zip_folder import list_zip

IMAGES = samples(4)
List = Callable[[str], Iterator[ImageReference]]


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def shown(references: Iterator[ImageReference]) -> list[tuple[str, str]]:
    """Member and class of problem of each reference."""
    return [(one.uri.rpartition("#")[2], one.problem.partition(":")[0]) for one in references]


def read_all(references: list[ImageReference], root: Path, max_bytes: int = 10**6) -> list[bytes | ErrorClass]:
    reader = MemberReader([str(root)], max_bytes)
    for reference in references:
        reader.announce(reference)
    found: list[bytes | ErrorClass] = []
    for reference in references:
        try:
            found.append(reader.read(reference))
        except ImageError as error:
            found.append(error.error_class)
    reader.close()
    return found


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
def test_names_that_lead_outside_are_refused(tmp_path: Path, pack: Callable[..., bytes]) -> None:
    names = ["./cat/good.jpg", "/etc/name.jpg", "cat/../../up.jpg", "cat//last#1.jpg"]
    uri = write(tmp_path / "a", pack([(name, b"x") for name in names]))
    list_images: List = list_webdataset if pack is tar_bytes else list_zip
    assert shown(list_images(uri)) == [
        ("cat/good.jpg", ""),
        ("/etc/name.jpg", "FORBIDDEN_URI"),
        ("cat/../../up.jpg", "FORBIDDEN_URI"),
        ("cat/last%231.jpg", ""),
    ]


def test_the_address_of_a_member_is_unambiguous() -> None:
    assert member_uri("/a.tar", "b#c%.jpg") == ("/a.tar#b%23c%25.jpg", None)
    assert member_uri("/a.tar", "b\n.jpg") == ("/a.tar#b%0A.jpg", None)
    assert member_uri("/a.zip", "C:\\x.jpg")[1] is not None
    uri, problem = member_uri("/a.tar", b"\xff.jpg".decode("utf-8", "surrogateescape"))
    uri.encode()
    assert problem is not None
    assert problem[0] is ErrorClass.BAD_ROW


def test_links_and_devices_in_a_tar_are_no_images(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("é" * 120 + ".jpg")  # a name that needs an extended header
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    (reference,) = list_webdataset(write(tmp_path / "a.tar", stream.getvalue()))
    assert reference.uri.endswith("#" + "é" * 120 + ".jpg")
    assert read_all([reference], tmp_path) == [b"x"]


def test_links_in_a_zip_are_no_images(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link.jpg")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("cat/a.jpg", b"x")
        archive.writestr("__MACOSX/cat/._a.jpg", b"x")
    assert shown(list_zip(str(tmp_path / "a.zip"))) == [("cat/a.jpg", "")]


@pytest.mark.parametrize(
    ("list_images", "data", "before"),
    [
        (list_webdataset, webdataset(IMAGES)[:17_000], 3),
        (list_webdataset, gzip.compress(webdataset(IMAGES))[:-2000], 3),
        (list_tfrecord, tfrecord(IMAGES)[:-10], 3),
        (list_tfrecord, gzip.compress(tfrecord(IMAGES))[:-200], 3),
        (list_zip, zip_bytes((image.path, image.data) for image in IMAGES)[:-300], 3),
    ],
    ids=["tar", "tar.gz", "tfrecord", "tfrecord.gz", "zip"],
)
def test_a_cut_container_keeps_what_comes_before(tmp_path: Path, list_images: List, data: bytes, before: int) -> None:
    found = list(list_images(write(tmp_path / "a", data)))
    *whole, rest = found
    assert rest.problem.startswith("TRUNCATED")
    assert rest.uri == f"{tmp_path}/a#"
    assert len(whole) == before
    assert read_all(whole, tmp_path) == [image.data for image in IMAGES[:before]]


@pytest.mark.parametrize("list_images", [list_webdataset, list_tfrecord, list_zip, list_hf_parquet])
@pytest.mark.parametrize(
    "data", [b"", b"x", b"PAR1", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x1f\x8b\x08\x00", b"Q" * 9000]
)
def test_bytes_that_are_no_container_are_at_most_one_dead_letter(
    tmp_path: Path, list_images: List, data: bytes
) -> None:
    found = list(list_images(write(tmp_path / "a", data)))
    assert len(found) <= 1
    assert all(one.problem for one in found)


@pytest.mark.parametrize("list_images", [list_webdataset, list_tfrecord, list_zip])
def test_a_container_with_any_byte_changed_never_ends_the_listing(tmp_path: Path, list_images: List) -> None:
    packed = {
        list_webdataset: webdataset(IMAGES[:2]),
        list_tfrecord: tfrecord(IMAGES[:2]),
        list_zip: zip_bytes((image.path, image.data) for image in IMAGES[:2]),
    }[list_images]
    good = {image.data for image in IMAGES}
    for place in [*range(0, 700, 7), *range(len(packed) - 300, len(packed), 5)]:
        data = bytearray(packed)
        data[place] ^= 0xFF
        references = [one for one in list_images(write(tmp_path / "a", bytes(data))) if not one.problem]
        outcomes = read_all(references, tmp_path)
        if list_images is not list_webdataset:  # tar has no checksum of its content
            assert all(isinstance(one, ErrorClass) or one in good for one in outcomes)


def test_a_gzip_bomb_is_cut_off(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb") as out:
        out.write(tar_bytes([("a.jpg", b"x")])[:1024])
        header = tarfile.TarInfo("b.jpg")
        header.size = 200 * 2**20
        out.write(header.tobuf())
        for _ in range(200):
            out.write(bytes(2**20))
    uri = write(tmp_path / "a.tar.gz", stream.getvalue())
    tracemalloc.start()
    found = shown(list_webdataset(uri))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [("a.jpg", ""), ("", "TOO_LARGE_BYTES")]
    assert peak < 20e6


def test_a_zip_bomb_is_never_inflated(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.zip", zip_bytes([("cat/a.jpg", b"x"), ("cat/bomb.jpg", bytes(30 * 2**20))]))
    data = bytearray(Path(uri).read_bytes())
    claimed = struct.pack("<I", 30 * 2**20)
    assert data.count(claimed) == 2
    Path(uri).write_bytes(data.replace(claimed, struct.pack("<I", 100)))  # a directory that lies
    tracemalloc.start()
    outcomes = read_all(list(list_zip(uri)), tmp_path, max_bytes=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcomes == [b"x", ErrorClass.TOO_LARGE_BYTES]
    assert peak < 10e6


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    packed = zip_bytes([("cat/a.jpg", bytes(range(256)) * 20)], zipfile.ZIP_STORED)
    start = packed.index(b"PK\x01\x02")
    end = packed.index(b"PK\x05\x06")
    entries = packed[start:end] * 50
    tail = packed[end : end + 12] + struct.pack("<II", len(entries), start) + b"\x00\x00"
    found = shown(list_zip(write(tmp_path / "a.zip", packed[:start] + entries + tail)))
    assert found[-1] == ("", "TOO_LARGE_BYTES")
    assert len(found) < 5


@pytest.mark.parametrize(
    ("limits", "count"),
    [({"max_members": 2}, 2), ({"max_total_bytes": 9000}, 1)],
)
def test_caps_on_count_and_total(tmp_path: Path, limits: dict[str, int], count: int) -> None:
    files = [(f"{n}.jpg", bytes(4000)) for n in range(5)]
    tar = write(tmp_path / "a.tgz", gzip.compress(tar_bytes(files)))
    found = shown(list_webdataset(tar, limits=ContainerLimits(**limits)))
    assert found[-1] == ("", "TOO_LARGE_BYTES")
    assert len(found) == count + 1
    with pytest.raises(OptionError, match="max_members must be positive, got 0"):
        ContainerLimits(max_members=0)


def test_a_header_that_claims_a_huge_name_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**40
    assert shown(list_webdataset(write(tmp_path / "a.tar", info.tobuf(tarfile.GNU_FORMAT) + bytes(5000)))) == [
        ("", "METADATA_BOMB")
    ]


def test_the_same_member_twice_has_one_address(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.tar", tar_bytes([("a.jpg", b"1"), ("./a.jpg", b"2")]))
    first, second = list_webdataset(uri)
    assert first.uri == second.uri
    assert first != second


def test_samples_of_a_webdataset(tmp_path: Path) -> None:
    said = b'{"label": ["cat", "dog"], "camera": "K1", "group": "g"}'
    files = [
        ("x/1.jpg", b"1"), ("x/1.json", said), ("x/1.txt", b"a caption"),
        ("x/2.jpg", b"2"), ("x/2.seg.png", b"mask"), ("x/2.txt", b"cat"),
        ("x/3.png", b"3"), ("x/3.cls", b"7\n"),
        ("x/4.left.jpg", b"4l"), ("x/4.right.jpg", b"4r"),
        ("x/5.jpg", b"5"), ("x/5.json", b"[1]"),
        ("x/6.json", b"{}"), ("README.md", b"no sample"), (".hidden.jpg", b"h"),
    ]  # fmt: skip
    found = list(list_webdataset(write(tmp_path / "a.tar", tar_bytes(files))))
    assert [(one.uri.rpartition("#")[2], one.labels, one.group, one.attributes) for one in found] == [
        ("x/1.jpg", ("cat", "dog"), "g", (("camera", "K1"), ("txt", "a caption"))),
        ("x/2.jpg", ("cat",), "", ()),
        ("x/3.png", ("7",), "", ()),
        ("x/4.left.jpg", (), "", ()),
        ("x/4.right.jpg", (), "", ()),
        ("x/5.jpg", (), "", ()),
    ]
    assert found[5].problem.startswith("BAD_ROW: the sample's label or attributes: the .json is no object")


def test_features_of_a_tfrecord(tmp_path: Path) -> None:
    records = [
        example({"image/encoded": [b"1"], "image/class/label": [3, -1], "weight": [0.5], "camera": [b"K"]}),
        example({"png": [b"2"], "kind": [b"cat"]}),
        example({"image/encoded": [b"3", b"4"]}),
        b"\xff\xff",
    ]
    uri = write(tmp_path / "a.tfrecord", b"".join(map(record, records)))
    first, *others = list_tfrecord(uri)
    assert (first.labels, first.attributes) == (("3", "-1"), (("camera", "K"), ("weight", "0.5")))
    assert [one.problem[:8] for one in others] == ["BAD_ROW:"] * 3
    _, second, *_ = list_tfrecord(uri, Columns(image="png", label="kind"))
    assert second.labels == ("cat",)
    assert read_all([second], tmp_path) == [b"2"]


def test_a_record_whose_checksum_is_wrong_costs_itself(tmp_path: Path) -> None:
    first, second = record(example({"image/encoded": [b"1"]})), record(example({"image/encoded": [b"2"]}))
    broken = bytearray(first + second)
    broken[30] ^= 1
    assert shown(list_tfrecord(write(tmp_path / "a", bytes(broken)))) == [("0", "CORRUPT"), ("1", "")]


def test_a_tfrecord_that_tensorflow_wrote(tmp_path: Path) -> None:
    import tensorflow as tf

    path = str(tmp_path / "a.tfrecord")
    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[IMAGES[0].data])),
        "image/class/text": tf.train.Feature(bytes_list=tf.train.BytesList(value=["Kätzchen".encode()])),
        "size": tf.train.Feature(int64_list=tf.train.Int64List(value=[-5])),
        "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[0.25])),
    }
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    (reference,) = list_tfrecord(path)
    assert (reference.labels, reference.attributes) == (("Kätzchen",), (("size", "-5"), ("weight", "0.25")))
    assert read_all([reference], tmp_path) == [IMAGES[0].data]


def test_rows_of_parquet_without_bytes_or_of_another_name(tmp_path: Path) -> None:
    images = [{"bytes": b"1", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None]
    table = pa.table({"photo": images, "label": [0, -1, 5], "note": [None, "n", "é"]})
    features = {"label": {"names": ["cat"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    found = list(list_hf_parquet(str(tmp_path / "a.parquet")))
    assert [one.labels for one in found] == [("cat",), (), ("5",)]
    assert [one.attributes for one in found] == [(), (("note", "n"),), (("note", "é"),)]
    assert read_all(found, tmp_path) == [b"1", ErrorClass.EMPTY, ErrorClass.EMPTY]


def test_a_container_that_changed_since_it_was_listed_is_not_read(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.tar", webdataset(IMAGES))
    references = list(list_webdataset(uri))
    write(tmp_path / "a.tar", webdataset(IMAGES[::-1]) + bytes(1024))
    assert read_all(references, tmp_path) == [ErrorClass.READ_ERROR] * 4
    Path(uri).unlink()
    assert read_all(references, tmp_path) == [ErrorClass.NOT_FOUND] * 4
    assert read_all(references, tmp_path / "elsewhere") == [ErrorClass.FORBIDDEN_URI] * 4


def test_threads_that_overtake_each_other_get_their_own_bytes(tmp_path: Path) -> None:
    images = samples(12)
    references = list(list_webdataset(write(tmp_path / "a.tgz", gzip.compress(webdataset(images)))))
    reader = MemberReader([str(tmp_path)], 10**6)
    for reference in references:
        reader.announce(reference)
    order = [1, 0, 3, 2, 5, 4, 8, 6, 7, 11, 10, 9]
    assert [reader.read(references[n]) for n in order] == [images[n].data for n in order]


def test_rows_of_parquet_are_read_across_groups_and_gaps(tmp_path: Path) -> None:
    images = samples(40)
    write_hf_parquet(tmp_path / "a.parquet", images, row_group_size=19)
    references = list(list_hf_parquet(str(tmp_path / "a.parquet")))
    wanted = [0, 1, 17, 18, 19, 35, 39, 3]
    assert read_all([references[n] for n in wanted], tmp_path) == [images[n].data for n in wanted]


def test_encrypted_and_foreign_compression_cost_their_member(tmp_path: Path) -> None:
    packed = bytearray(zip_bytes([("a.jpg", b"x")], zipfile.ZIP_LZMA))
    (reference,) = list_zip(write(tmp_path / "a.zip", bytes(packed)))
    assert read_all([reference], tmp_path) == [ErrorClass.UNSUPPORTED_FORMAT]
    packed[6] |= 1
    (reference,) = list_zip(write(tmp_path / "a.zip", bytes(packed)))
    assert read_all([reference], tmp_path) == [ErrorClass.UNSUPPORTED_FORMAT]
